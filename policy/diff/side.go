package diff

import (
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// NoGateway is the reason for which everybody is refused at a gateway that one of
// the two policies does not have.
const NoGateway model.Reason = "no-gateway"

// ways is a set of ways to ask for a host. The request CONNECT and the TLS in
// its tunnel are judged, and compared, each on its own.
type ways uint8

func (s ways) has(w model.Way) bool { return s&(1<<w) != 0 }

func (s ways) list() []model.Way {
	var out []model.Way
	for _, w := range model.Ways() {
		if s.has(w) {
			out = append(out, w)
		}
	}
	return out
}

const (
	onlyTLS ways = 1 << model.WayTLS
	allWays ways = onlyTLS | 1<<model.WayConnect | 1<<model.WayHTTP
)

// offered are the ways that at least one of two gateways takes, either of which
// may be nil.
func offered(gateways ...*model.Gateway) ways {
	out := onlyTLS
	for _, g := range gateways {
		if g != nil && g.SpeaksHTTP() {
			out = allWays
		}
	}
	return out
}

// side is one of the two policies' view of a region.
type side struct {
	gateway *model.Gateway // nil: there is none
	entry   *model.Entry   // the one that decides; nil: none covers the region
}

// decide puts a question to the policy. What it means is compared, also where it is
// not enforced: that is a setting.
func (s side) decide(w model.Way, principal string, name hostname.Name) model.Decision {
	switch {
	case s.gateway == nil:
		return model.Decision{Reason: NoGateway}
	case w == model.WayTLS:
		return s.gateway.DecideEnforced(model.ViaTLS, principal, name)
	default:
		authority := model.Request{Way: w, Host: name}.Authority()
		return s.gateway.Enforcing().DecideRequest(principal, w == model.WayConnect, authority)
	}
}

// fallback is the verdict where no rule matches.
func (s side) fallback() model.Verdict {
	if s.gateway == nil || s.gateway.HasAllowPolicy {
		return model.Deny
	}
	return s.gateway.DefaultAction
}

// registered reports whether not everybody is refused because the host is not
// known.
func (s side) registered() bool { return s.entry != nil && s.entry.Registered }
