package flows

import (
	"slices"
	"strings"

	"sallyport/policy/model"
)

const methodConnect = "CONNECT"

// request attributes a line of the HTTP stage: a request that was refused,
// failed, or was sent on over TLS of the gateway's own.
func (f *Flow) request(r EnvoyRecord, g *model.Gateway) {
	connect := r.Method == methodConnect
	f.Method, f.ResponseCode = r.Method, r.ResponseCode
	f.Authority, f.RequestedServerName = r.Authority, hostOf(r.Authority)
	f.TerminationDetails = r.ResponseCodeDetails
	f.Via = viaOf(r.Method)
	now := model.Decision{Reason: UnknownGateway, AuditReason: UnknownGateway}
	if g != nil {
		now = g.DecideRequest(r.SourcePrincipal, connect, r.Authority)
	}
	switch denied := deniedBy(r.ResponseCodeDetails); {
	case denied != "":
		f.refusedRequest(r, denied, now, g)
	case r.Method == "" && r.ResponseCode == 0:
		f.Reason = ClosedEarly
	case !reachedRouter(r):
		f.Reason = BadRequest
	default:
		f.allowedRequest(r, now, g)
	}
	f.audit(now)
	if g != nil && g.AuditOnly && f.Verdict == model.Allow && !f.Revoked {
		verdict, reason, rule := g.Enforced(now)
		if f.Reason != model.AuditMode {
			rule = nil // the flow's own rule says it
		}
		f.would(verdict, reason, rule)
	}
}

// viaOf is the way of asking of a request's method, as Flow.Via has it.
func viaOf(method string) string {
	if method == methodConnect {
		return model.WayConnect.String()
	}
	return model.WayHTTP.String()
}

// refusedRequest is one that a policy of that name refused.
func (f *Flow) refusedRequest(r EnvoyRecord, denied string, now model.Decision, g *model.Gateway) {
	if id, err := model.ParseRuleID(denied); err == nil {
		f.Reason = model.DenyRule
		f.rule(id, g)
		return
	}
	f.Reason = model.Reason(denied)
	if denied == "none" { // no Allow rule
		f.Reason = model.Reason(r.Otherwise)
		if f.Reason == "" {
			f.Reason = model.NoAllowRule
		}
	}
	switch {
	case f.Reason == model.DefaultAction:
		f.defaultAction(g)
	case f.Reason == model.NoAllowRule: // no line says so
	case now.Reason == f.Reason && now.Entry != nil:
		f.at(now.Entry.RegisteredAt)
	}
}

// allowedRequest is one that the policy let through. The gateway does not say by
// which rule; the policy in force now says it, unless it would refuse.
func (f *Flow) allowedRequest(r EnvoyRecord, now model.Decision, g *model.Gateway) {
	f.Verdict, f.ConnectionEvent = model.Allow, EventClose
	if failure := r.requestFailure(); failure != "" {
		f.UpstreamFailure = failure
	}
	f.Revoked = g != nil && now.Verdict != model.Allow
	switch {
	case g == nil:
		f.Reason = UnknownGateway
	case f.Revoked:
		f.Reason = PolicyChanged
	default:
		f.Reason = now.Reason
		if now.Rule != nil {
			f.rule(now.Rule.ID, g)
		} else {
			f.defaultAction(g)
		}
	}
}

// reachedRouter reports whether a request that no policy refused got past the
// policies: Envoy answers what is no request, or no clear one, on its own before.
func reachedRouter(r EnvoyRecord) bool {
	if r.ResponseCodeDetails == "via_upstream" {
		return true
	}
	switch r.ResponseCode {
	case 0: // the client went away
		return r.Method != ""
	case 502, 503, 504:
		return true
	default:
		return false
	}
}

// requestFailure says why an allowed request got no answer of its host, or "".
func (r EnvoyRecord) requestFailure() string {
	if r.ResponseCodeDetails == "via_upstream" {
		return ""
	}
	if failure := r.upstreamFailure(); failure != "" {
		return failure
	}
	if slices.Contains(strings.Split(r.ResponseFlags, ","), "UC") {
		return "the host closed the connection, or the policy stage did"
	}
	return r.ResponseCodeDetails
}

// hostOf is the host of an authority, as it was sent.
func hostOf(authority string) string {
	host, port, ok := strings.Cut(authority, ":")
	if ok && port != "" && strings.Trim(port, "0123456789") == "" {
		return host
	}
	return authority
}
