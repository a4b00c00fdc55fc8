package server

import (
	"maps"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"sallyport/xds/snapshot"
)

// sotw is the protocol that sends the state of the world.
type sotw struct{}

func (sotw) name() string { return "sotw" }

func (sotw) open(req *discovery.DiscoveryRequest) *subscription {
	sub := &subscription{Subscription: stream.NewSotwSubscription(req.GetResourceNames(), wildcardByDefault(req.GetTypeUrl()))}
	// The version is that of all resources of the type, so it says what a
	// gateway has that asks for everything, and nothing about one that names
	// some.
	if sub.IsWildcard() {
		sub.accepted = req.GetVersionInfo()
	}
	return sub
}

// update ignores what was sent before the last response arrived: the gateway
// says it again in its answer to that.
func (sotw) update(sub *subscription, req *discovery.DiscoveryRequest) bool {
	if sub.sent.nonce != "" && req.GetResponseNonce() != sub.sent.nonce {
		return false
	}
	if len(req.GetResourceNames()) > 0 {
		sub.own()
	}
	sub.SetResourceSubscription(req.GetResourceNames())
	if !sub.IsWildcard() {
		sub.state = nil // one that asked for everything, and now for nothing, has nothing
	}
	return true
}

func (sotw) next(sub *subscription, s *snapshot.Snapshot, nonce string) (outgoing, bool) {
	if sub.IsWildcard() {
		return everything(sub, s, nonce)
	}
	out := outgoing{returned: make(map[string]string)}
	var items []*snapshot.Item
	for _, item := range s.Items(sub.typeURL) {
		if _, ok := sub.SubscribedResources()[item.Name]; ok {
			items = append(items, item)
			out.names = append(out.names, item.Name)
			out.returned[item.Name] = item.Version
		}
	}
	// What was sent is what counts, accepted or not: comparing with the version
	// that the gateway accepted would send a rejected one again and again.
	if len(items) == 0 || sub.answered && maps.Equal(out.returned, sub.ReturnedResources()) {
		return out, false // what was named may come yet
	}
	out.message = newResponse(sub.typeURL, s.GetVersion(sub.typeURL), nonce, sotwBody(items))
	return out, true
}

// everything is next for a gateway that asks for it.
func everything(sub *subscription, s *snapshot.Snapshot, nonce string) (outgoing, bool) {
	all, names := s.All(sub.typeURL)
	if !sub.answered && sub.accepted == s.GetVersion(sub.typeURL) {
		sub.answered = true
		sub.state = all
	}
	if sub.answered && s.Update(sub.typeURL, sub.share(s)).IsEmpty() {
		return outgoing{}, false
	}
	return outgoing{
		message: newResponse(sub.typeURL, s.GetVersion(sub.typeURL), nonce, sotwBody(s.Items(sub.typeURL))),
		names:   names, state: all,
	}, true
}
