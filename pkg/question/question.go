// Package question reads what a person asks about a policy: may this workload reach that
// host, asking in this way?
package question

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"sallyport/pkg/ca"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// Question is what is asked.
type Question struct {
	// Principal is a SPIFFE ID, or empty for the anonymous principal.
	Principal string
	Way       model.Way
	// Host is a name, or for HTTP requests HOST or HOST:PORT.
	Host string
	// Logged says that the host is what came from the network, and not what a person
	// wrote: it is taken as it is, and may be no host at all.
	Logged bool
}

// The parts of a question that an Error can be about.
const (
	Principal = "principal"
	Host      = "host"
)

// Error says which part of a question is wrong.
type Error struct {
	Part string
	Err  error
}

// Error is the reason, without the part.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Err }

// SPIFFEID takes a SPIFFE ID as people write it: without spiffe:// too, as logs and
// Istio show it. Empty stays empty, the anonymous principal.
func SPIFFEID(s string) string {
	if s == "" || strings.HasPrefix(s, "spiffe://") {
		return s
	}
	return "spiffe://" + s
}

// Check reads what a person wrote, and returns the question in the form in which it is
// answered; or an Error.
func (q Question) Check() (Question, error) {
	if q.Principal = SPIFFEID(q.Principal); q.Principal != "" {
		if _, err := ca.ParseID(q.Principal); err != nil {
			return q, &Error{Principal, err}
		}
	}
	if q.Logged {
		return q, nil
	}
	if q.Host == "" {
		return q, &Error{Host, errors.New("the host that the workload asks for is missing")}
	}
	if q.Way == model.WayTLS {
		if host, _, err := net.SplitHostPort(q.Host); err == nil {
			return q, &Error{Host, &PortError{host}}
		}
		return q, nil
	}
	r, err := request(q.Way, q.Host)
	if err != nil {
		return q, &Error{Host, err}
	}
	q.Host = r.Authority()
	return q, nil
}

// PortError is a port where none is named.
type PortError struct{ Name string }

// Error says what to write.
func (e *PortError) Error() string {
	return fmt.Sprintf("with TLS no port is named: it is %s, or a CONNECT", e.Name)
}

// request is one for a host as a person writes it, HOST or HOST:PORT.
func request(way model.Way, written string) (model.Request, error) {
	host, port, hasPort := strings.Cut(written, ":")
	name, err := hostname.Parse(host)
	r := model.Request{Way: way, Host: name}
	if err == nil && hasPort {
		var n uint64
		if n, err = strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return r, fmt.Errorf("%q is no port from 1 to 65535", port)
		}
		r.Port = uint16(n)
	}
	return r, err
}

// Answer is what a gateway says to a question, with every step: for CONNECT of the
// request, and of the TLS inside.
type Answer struct {
	Verdict model.Verdict
	Reason  model.Reason
	// Trace is the answer for TLS, Request that for an HTTP request; the other is nil.
	Trace   *model.Trace
	Request *model.RequestTrace
}

// Ask asks a gateway.
func (q Question) Ask(g *model.Gateway) Answer {
	switch {
	case q.Way != model.WayTLS:
		t := g.ExplainRequest(q.Principal, q.Way, q.Host)
		return Answer{Verdict: t.Verdict, Reason: t.Reason, Request: &t}
	case q.Logged:
		t := g.ExplainWire(q.Principal, q.Host)
		return Answer{Verdict: t.Verdict, Reason: t.Reason, Trace: &t}
	default:
		t := g.Explain(q.Principal, q.Host)
		return Answer{Verdict: t.Verdict, Reason: t.Reason, Trace: &t}
	}
}
