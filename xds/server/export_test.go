package server

import "time"

// SetPatience shortens how long gateways may take to answer. Call it before
// Serve.
func (s *Server) SetPatience(d time.Duration) { s.answerWithin = d }

// Limits that tests refer to.
const (
	MaxStrangers = maxStrangers
	PartSize     = partSize
)

// Clean is what makes a client's words fit for logs.
func Clean(s string, limit int) string { return clean(s, limit) }
