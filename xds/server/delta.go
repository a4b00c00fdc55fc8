package server

import (
	"maps"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"sallyport/xds/snapshot"
)

// partSize is how many bytes of resources a delta response holds at most,
// unless a single one is larger. What is left follows the ACK: that bounds what
// a stream costs while thousands of gateways connect at once.
const partSize = 1 << 20

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
	sub.UpdateResourceSubscriptions(req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe())
	return true
}

func (delta) next(sub *subscription, s *snapshot.Snapshot, nonce string) (outgoing[*discovery.DeltaDiscoveryResponse], bool) {
	resp := &discovery.DeltaDiscoveryResponse{
		TypeUrl:           sub.typeURL,
		SystemVersionInfo: s.GetVersion(sub.typeURL),
		Nonce:             nonce,
	}
	out := outgoing[*discovery.DeltaDiscoveryResponse]{message: resp, returned: maps.Clone(sub.ReturnedResources())}
	size := 0
	for _, item := range wanted(sub, s) {
		if sub.ReturnedResources()[item.Name] == item.Version {
			continue
		}
		if size += item.Size(); len(resp.Resources) > 0 && (size > partSize || oneByOne(sub.typeURL)) {
			out.partial = true
			break
		}
		resp.Resources = append(resp.Resources, item.Packed)
		out.names = append(out.names, item.Name)
		out.returned[item.Name] = item.Version
	}
	for name := range sub.ReturnedResources() {
		if s.Item(sub.typeURL, name) == nil {
			resp.RemovedResources = append(resp.RemovedResources, name)
			delete(out.returned, name)
		}
	}
	// A gateway that asks for everything waits for its first answer, even if
	// that has nothing in it.
	unanswered := sub.IsWildcard() && !sub.answered
	return out, unanswered || len(resp.Resources) > 0 || len(resp.RemovedResources) > 0
}

// oneByOne reports whether a response may have one resource of the type only. Envoy
// takes the secrets of a response in no order, and stops at the first that it does
// not like: a certificate that cannot be read would cost it the authorities, which
// can, until it connects anew.
func oneByOne(typeURL string) bool { return typeURL == resource.SecretType }

// wanted are the resources that the subscription covers, in the order of
// sending.
func wanted(sub *subscription, s *snapshot.Snapshot) []*snapshot.Item {
	if sub.IsWildcard() {
		return s.Items(sub.typeURL)
	}
	var items []*snapshot.Item
	for _, item := range s.Items(sub.typeURL) {
		if _, ok := sub.SubscribedResources()[item.Name]; ok {
			items = append(items, item)
		}
	}
	return items
}

// wildcardByDefault reports whether a request that names nothing asks for
// everything. That is an old form for clusters and listeners; secrets and routes
// must be named.
func wildcardByDefault(typeURL string) bool {
	return typeURL == resource.ClusterType || typeURL == resource.ListenerType
}
