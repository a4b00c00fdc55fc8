package model

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"sallyport/pkg/hostname"
)

// Way is how a workload asks a gateway for a host.
type Way int

const (
	// WayTLS is TLS of the workload's own, whose server name is the host. It is
	// the zero value.
	WayTLS Way = iota
	// WayConnect is an HTTP request CONNECT, with TLS for the same host inside the
	// tunnel.
	WayConnect
	// WayHTTP is a plain HTTP request, which the gateway sends on over TLS.
	WayHTTP
)

// Ways are all of them.
func Ways() []Way { return []Way{WayTLS, WayConnect, WayHTTP} }

// String is the word of policy files and of the command line.
func (w Way) String() string {
	switch w {
	case WayConnect:
		return "CONNECT"
	case WayHTTP:
		return "HTTP"
	default:
		return "TLS"
	}
}

// MarshalText makes the way a word in JSON.
func (w Way) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads that word.
func (w *Way) UnmarshalText(text []byte) error {
	for _, way := range Ways() {
		if way.String() == string(text) {
			*w = way
			return nil
		}
	}
	return fmt.Errorf("a way of asking is TLS, CONNECT or HTTP, not %q", text)
}

// SpeaksHTTP reports whether a workload can ask in the other ways than TLS: only
// at a listener of protocol HTTP.
func (g *Gateway) SpeaksHTTP() bool {
	return slices.ContainsFunc(g.Listeners, func(l Listener) bool { return l.Protocol == HTTP })
}

// Request is a workload that asks for a host.
type Request struct {
	// Principal is a SPIFFE ID, or empty for the anonymous principal.
	Principal string
	Way       Way
	Host      hostname.Name
	// Port is the one that an HTTP request names; zero means that it names none,
	// or for CONNECT, which must, 443. With TLS the gateway never learns of one.
	Port uint16
}

// Authority is that of the HTTP request, HOST or HOST:PORT.
func (r Request) Authority() string {
	port := r.Port
	if r.Way == WayConnect && port == 0 {
		port = httpsPort
	}
	if port == 0 {
		return string(r.Host)
	}
	return string(r.Host) + ":" + strconv.Itoa(int(port))
}

// Answer decides on everything that the workload needs to get through: for
// CONNECT on the request, and then on the TLS inside the tunnel, which is
// decided on once more. The first refusal is the answer.
func (g *Gateway) Answer(r Request) Decision {
	if !g.Admits(r.Principal) {
		return Decision{Reason: BadIdentity, AuditReason: BadIdentity}
	}
	if r.Way == WayTLS {
		return g.Decide(r.Principal, r.Host)
	}
	d := g.DecideRequest(r.Principal, r.Way == WayConnect, r.Authority())
	if r.Way == WayConnect && d.Verdict == Allow {
		return g.Decide(r.Principal, r.Host)
	}
	return d
}

// RequestTrace is an answer to an HTTP request with every step that led to it.
type RequestTrace struct {
	Way       Way     `json:"via"`
	Authority string  `json:"authority"`
	Verdict   Verdict `json:"verdict"`
	Reason    Reason  `json:"reason"`
	// Request is about the request itself.
	Request Trace `json:"request"`
	// Inside is about the TLS in the tunnel of an allowed CONNECT, as it is if the
	// server name is the requested host.
	Inside *Trace `json:"inside,omitempty"`
}

// ExplainRequest decides on an HTTP request, plain or CONNECT, and keeps every
// step. The authority is taken as a client sent it, which is stricter than what
// a person may write.
func (g *Gateway) ExplainRequest(principal string, way Way, authority string) RequestTrace {
	request := Trace{
		Gateway: g.Name, Principal: principal, Host: authority,
		HasAllowPolicy: g.HasAllowPolicy, DefaultAction: g.DefaultAction, AuditOnly: g.AuditOnly,
		Rules: []TraceRule{},
	}
	if g.turnedAway(&request) {
		return RequestTrace{Way: way, Authority: authority, Reason: request.Reason, Request: request}
	}
	d := g.DecideRequest(principal, way == WayConnect, authority)
	t := RequestTrace{Way: way, Authority: authority, Verdict: d.Verdict, Reason: d.Reason}
	name, _, ok := splitAuthority(authority)
	if !ok {
		request.Reason, request.Audit.Reason = d.Reason, d.Reason
		request.Problem = fmt.Sprintf("%q is not HOST or HOST:PORT, the host a name of ASCII letters, digits, hyphens and dots", authority)
		t.Request = request
		return t
	}
	request.explain(g, ViaHTTP, d, name)
	t.Request = request
	if way == WayConnect && d.Verdict == Allow {
		inside := g.Explain(principal, string(name))
		t.Inside = &inside
		t.Verdict, t.Reason = inside.Verdict, inside.Reason
	}
	return t
}

// Write prints the trace for a person to read, the answer first. Errors of w
// are w's to keep.
func (t RequestTrace) Write(w io.Writer) {
	if t.Way == WayConnect {
		_, _ = fmt.Fprintf(w, "%s: CONNECT %q, and the TLS inside\n\nThe request:\n", t.Verdict, t.Authority)
	} else {
		_, _ = fmt.Fprintf(w, "%s: plain HTTP for %q\n\n", t.Verdict, t.Authority)
	}
	t.Request.Write(w)
	if t.Inside != nil {
		_, _ = fmt.Fprintf(w, "\nThe TLS inside, if its server name is %s:\n", t.Inside.Name)
		t.Inside.Write(w)
	}
}

// asking says which ways of asking a rule is about.
func (v Via) asking() string {
	if v == ViaHTTP {
		return "HTTP requests, not TLS"
	}
	return "TLS, not HTTP requests"
}
