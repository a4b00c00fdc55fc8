package server

import (
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"sallyport/xds/snapshot"
)

// delta is the protocol that sends what differs.
type delta struct{}

func (delta) name() string { return "delta" }

func (delta) open(req *discovery.DeltaDiscoveryRequest) *subscription {
	return &subscription{
		Subscription: stream.NewDeltaSubscription(
			req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe(),
			req.GetInitialResourceVersions(), wildcardByDefault(req.GetTypeUrl())),
		// One that has resources was answered on an earlier stream: a restart of
		// the control plane sends it nothing, not even an empty response.
		answered: len(req.GetInitialResourceVersions()) > 0,
	}
}

// update never finds a request too late: it says what changed, not what is.
func (delta) update(sub *subscription, req *discovery.DeltaDiscoveryRequest) bool {
	if len(req.GetResourceNamesUnsubscribe()) > 0 {
		sub.own()
	}
	sub.UpdateResourceSubscriptions(req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe())
	return true
}

func (delta) next(sub *subscription, s *snapshot.Snapshot, nonce string) (outgoing, bool) {
	var u *snapshot.Update
	var out outgoing
	if sub.IsWildcard() {
		u = s.Update(sub.typeURL, sub.share(s))
		out.state = u.Then
	} else {
		u = s.UpdateOf(sub.typeURL, sub.SubscribedResources(), sub.ReturnedResources())
		out.returned = u.Then.Versions()
	}
	// A gateway that asks for everything waits for its first answer, even if
	// that has nothing in it.
	if u.IsEmpty() && (!sub.IsWildcard() || sub.answered) {
		return out, false
	}
	out.message = newResponse(sub.typeURL, s.GetVersion(sub.typeURL), nonce, u.Body)
	out.partial, out.names = u.Partial, u.Names
	return out, true
}

// wildcardByDefault reports whether a request that names nothing asks for
// everything. That is an old form for clusters and listeners; secrets and routes
// must be named.
func wildcardByDefault(typeURL string) bool {
	return typeURL == resource.ClusterType || typeURL == resource.ListenerType
}
