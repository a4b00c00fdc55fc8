package server

import (
	"maps"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/protobuf/types/known/anypb"

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
	sub.SetResourceSubscription(req.GetResourceNames())
	return true
}

func (sotw) next(sub *subscription, s *snapshot.Snapshot, nonce string) (outgoing[*discovery.DiscoveryResponse], bool) {
	items := wanted(sub, s)
	out := outgoing[*discovery.DiscoveryResponse]{returned: make(map[string]string, len(items))}
	for _, item := range items {
		out.returned[item.Name] = item.Version
	}
	if !sub.answered && sub.accepted == s.GetVersion(sub.typeURL) {
		sub.answered = true
		sub.SetReturnedResources(out.returned)
	}
	// What was sent is what counts, accepted or not: comparing with the version
	// that the gateway accepted would send a rejected one again and again.
	if sub.answered && maps.Equal(out.returned, sub.ReturnedResources()) {
		return out, false
	}
	if !sub.IsWildcard() && len(items) == 0 {
		return out, false // what was named may come yet
	}
	out.message = &discovery.DiscoveryResponse{
		TypeUrl:     sub.typeURL,
		VersionInfo: s.GetVersion(sub.typeURL),
		Nonce:       nonce,
		Resources:   make([]*anypb.Any, len(items)),
	}
	for i, item := range items {
		out.message.Resources[i] = item.Packed.GetResource()
		out.names = append(out.names, item.Name)
	}
	return out, true
}
