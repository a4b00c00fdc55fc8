package server

import (
	"maps"

	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"sallyport/xds/snapshot"
)

// subscription is what a gateway asked for, and has, of one type.
type subscription struct {
	stream.Subscription
	typeURL string
	// state is what a gateway has that asks for everything, shared with all that
	// have the same. If it is nil, ReturnedResources are what it has.
	state *snapshot.State
	// accepted is the version that the gateway accepted on an earlier stream,
	// if it said so.
	accepted string
	// answered says that the gateway's first request was answered, or needed
	// no answer.
	answered bool
	// sent is the last response, and waiting that its ACK or NACK is due.
	sent    response
	waiting bool
	// upToDate is the version of all resources of the type at which there was
	// nothing left to send; empty if that is not known.
	upToDate string
	rejected rejected
	status   TypeStatus
}

// has are the resources that the gateway has, with their versions. It must not be
// modified.
func (s *subscription) has() map[string]string {
	if s.state != nil {
		return s.state.Versions()
	}
	return s.ReturnedResources()
}

// share makes what the gateway has a state that others may have too. It must ask
// for everything.
func (s *subscription) share(of *snapshot.Snapshot) *snapshot.State {
	if s.state == nil {
		s.state = of.State(s.typeURL, s.ReturnedResources())
		s.SetReturnedResources(make(map[string]string)) // the other is shared now
	}
	return s.state
}

// own undoes share: what changes the subscription changes what it has.
func (s *subscription) own() {
	if s.state == nil {
		return
	}
	has := make(map[string]string, len(s.state.Versions()))
	maps.Copy(has, s.state.Versions())
	s.SetReturnedResources(has)
	s.state = nil
}

// took records what the gateway has when it has taken a response.
func (s *subscription) took(out outgoing) {
	if s.state = out.state; s.state == nil {
		s.SetReturnedResources(out.returned)
	}
}
