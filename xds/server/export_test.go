package server

import (
	"time"

	"sallyport/xds/snapshot"
)

// SetPatience shortens how long gateways may take to answer. Call it before
// Serve.
func (s *Server) SetPatience(d time.Duration) { s.answerWithin = d }

// Limits that tests refer to.
const (
	MaxStrangers = maxStrangers
	PartSize     = snapshot.PartSize
)

// Clean is what makes a client's words fit for logs.
func Clean(s string, limit int) string { return clean(s, limit) }

// Reasons is what a message says of resources, and whether that is certain.
func Reasons(names []string, message string) ([]RejectedResource, bool) {
	faulty, certain := atFault(names, message)
	return reasons(faulty, message), certain
}

// Sent is a response as it goes over the wire.
func Sent(message any) ([]byte, error) {
	buffers, err := newCodec().Marshal(message)
	return buffers.Materialize(), err
}
