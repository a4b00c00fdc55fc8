package model

import (
	"strconv"
	"strings"

	"sallyport/pkg/hostname"
)

// Ports that HTTP clients mean without being told (RFC 9110 §4.2).
const (
	httpPort  = 80
	httpsPort = 443
)

// DecideRequest decides on an HTTP request as a client sent it to an HTTP
// listener: with CONNECT, or plain, to be sent on over TLS. The authority is
// that of the request line or the Host field. What is inside a CONNECT tunnel is
// decided on once more, by its server name (DecideWire).
func (g *Gateway) DecideRequest(principal string, connect bool, authority string) Decision {
	if g.AuditOnly {
		return g.auditRequest(principal, connect, authority)
	}
	name, port, ok := splitAuthority(authority)
	if !ok {
		return Decision{Reason: BadAuthority, AuditReason: BadAuthority}
	}
	d := g.DecideVia(ViaHTTP, principal, name)
	switch d.Reason {
	case NotRegistered:
		// An audit policy may make the host known, but not with a port of its own,
		// nor so that TLS is originated: only a Destination does that.
		if !connect || !portAllowed(connect, port, httpsPort) {
			d.AuditVerdict, d.AuditReason, d.AuditRule = d.Verdict, d.Reason, nil
		}
		return d
	case NotExported, DenyRule:
		return d
	}
	if reason := d.Entry.Dial.refuses(connect, port); reason != "" {
		return Decision{Reason: reason, AuditReason: reason, Entry: d.Entry, Audit: d.Audit}
	}
	return d
}

// refuses is why there is no way for a request, if there is none.
func (d Dial) refuses(connect bool, port uint16) Reason {
	switch {
	case !portAllowed(connect, port, d.Port):
		return PortNotAllowed
	case !connect && d.Originate == nil:
		return NotOriginated
	default:
		return ""
	}
}

// portAllowed reports whether a request may name the port; 0 is none. The
// gateway connects to dial in any case.
func portAllowed(connect bool, port, dial uint16) bool {
	if connect {
		return port == httpsPort || port == dial
	}
	return port == 0 || port == httpPort
}

// splitAuthority reads HOST or HOST:PORT. The host may be in any case, as
// clients may write it; it is not what a person may write: no Unicode, no
// trailing dot, no userinfo.
func splitAuthority(authority string) (name hostname.Name, port uint16, ok bool) {
	host, digits, hasPort := strings.Cut(authority, ":")
	if hasPort {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
			return "", 0, false
		}
		port = uint16(n)
	}
	name, err := hostname.FromWire(host)
	return name, port, err == nil
}
