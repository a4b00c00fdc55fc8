package suggest

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Why something is not suggested.
const (
	whyNoName     = "no server was named"
	whyBadName    = "not a host name"
	whyAnonymous  = "who asked has no identity, and a rule for those is one for everyone"
	whyNoIdentity = "who asked is not a SPIFFE ID of a workload"
	whyDenied     = "a Deny rule is about it"
	whyExported   = "the host's Destination is not exported to the namespace"
	whyAddress    = "the address guard refused it: the name leads to an address that is refused, or to none"
	whyNoRule     = "no rule allowed it, so that it was refused; --refused suggests it, too"
	whyOther      = "it was refused for another reason than the policy's rules"
)

// pairKey is a principal and a host as they were observed; the host in small letters.
type pairKey struct{ principal, host string }

// pair is what was observed of one.
type pair struct {
	pairKey
	name hostname.Name
	// use is of what may be suggested. groups and ways are those of it.
	use    Use
	seen   bool
	groups map[string]bool
	ways   map[model.Way]bool
	// left is of what may not, by the reason why.
	left map[string]*LeftPair
}

// pairs are all that were observed.
type pairs struct {
	o   Options
	all map[pairKey]*pair
	// judged says that the policy that there is was asked.
	judged  bool
	granted int
}

func newPairs(o Options) *pairs { return &pairs{o: o, all: make(map[pairKey]*pair)} }

// add takes one observation.
func (ps *pairs) add(o *Observation) {
	key := pairKey{o.Principal, strings.ToLower(o.Host)}
	p := ps.all[key]
	if p == nil {
		p = &pair{pairKey: key, groups: make(map[string]bool), ways: make(map[model.Way]bool), left: make(map[string]*LeftPair)}
		ps.all[key] = p
	}
	use := Use{First: o.First, Last: o.Last, Count: o.Count, Plain: o.Via == model.WayHTTP}
	if o.AuditVerdict != nil && *o.AuditVerdict != o.Verdict && *o.AuditVerdict != model.Allow {
		use.Would, use.WouldBe = o.Count, true
	}
	name, why := nameOf(o.Host)
	if why == "" {
		p.name = name
		if why = whoIs(o.Principal); why == "" {
			why = ps.o.unwanted(o)
		}
	}
	if why != "" {
		p.leave(why, use, "")
		return
	}
	p.seen = true
	p.use.add(use)
	p.groups[o.Group] = true
	p.ways[o.Via] = true
}

func (p *pair) leave(why string, use Use, at string) {
	l := p.left[why]
	if l == nil {
		l = &LeftPair{Principal: p.principal, Host: p.host, At: at}
		p.left[why] = l
	}
	l.Use.add(use)
}

// nameOf is the host of an exact pattern, or why it is none. What a policy file would
// read as anything else than just this name is none.
func nameOf(host string) (hostname.Name, string) {
	if host == "" {
		return "", whyNoName
	}
	name, err := hostname.FromWire(host)
	if err != nil {
		return "", whyBadName
	}
	if p, err := hostname.ParsePattern(string(name)); err != nil || p != hostname.Exactly(name) {
		return "", whyBadName
	}
	return name, ""
}

// whoIs says why a principal cannot be written in a rule, if it cannot.
func whoIs(principal string) string {
	if principal == "" {
		return whyAnonymous
	}
	if strings.HasSuffix(principal, "*") || syntax.CheckIdentity(principal) != nil {
		return whyNoIdentity
	}
	return ""
}

// unwanted says why what was observed must not be suggested, if it must not.
func (o Options) unwanted(seen *Observation) string {
	verdict, reason := seen.Verdict, seen.Reason
	if verdict == model.Allow && seen.AuditVerdict != nil && *seen.AuditVerdict != model.Allow {
		switch seen.AuditReason {
		case model.DenyRule:
			return whyDenied
		case model.NotExported:
			return whyExported
		}
		return ""
	}
	if verdict == model.Allow {
		return ""
	}
	switch reason {
	case model.NoAllowRule, model.NotRegistered, model.DefaultAction:
		if o.Refused {
			return ""
		}
		return whyNoRule
	case model.DenyRule:
		return whyDenied
	case model.NotExported:
		return whyExported
	case privateAddress, noAddress:
		return whyAddress
	default:
		return whyOther
	}
}

// The reasons of the address guard, which is Envoy's half (flows.PrivateAddress and
// flows.NoAddress).
const (
	privateAddress model.Reason = "private-address"
	noAddress      model.Reason = "no-address"
)

// overruled reports whether what was seen was refused by a rule or the guard after
// that.
func (p *pair) overruled() bool {
	return slices.ContainsFunc([]string{whyDenied, whyExported, whyAddress}, func(why string) bool {
		l := p.left[why]
		return l != nil && l.Use.Last.After(p.use.Last)
	})
}

// judge asks the policy that there is about what was seen.
func (ps *pairs) judge() {
	if ps.judged {
		return
	}
	ps.judged = true
	for _, p := range ps.all {
		if !p.seen {
			continue
		}
		delete(p.left, whyNoRule) // it was allowed at another time
		if p.overruled() {
			p.seen = false
			continue
		}
		if ps.o.Model == nil {
			continue
		}
		switch d, allowed := p.decided(ps.o.Model); {
		case allowed:
			p.seen = false
			clear(p.left)
			ps.granted++
		case d.Reason == model.DenyRule:
			p.seen = false
			p.leave(whyDenied, p.use, d.Rule.Origin.String())
		case d.Reason == model.NotExported:
			p.seen = false
			p.leave(whyExported, p.use, d.Entry.RegisteredAt.String())
		}
	}
}

// decided is whether an Allow rule is about the pair in each way at each gateway where
// it was seen; and if not, what decides.
func (p *pair) decided(m *model.Model) (model.Decision, bool) {
	var gateways []*model.Gateway
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		if g := m.FindGateway(name); g != nil {
			gateways = append(gateways, g)
		}
	}
	if len(gateways) == 0 {
		gateways = m.Gateways
	}
	var worst model.Decision
	allowed := true
	for _, g := range gateways {
		for _, via := range p.vias() {
			d := g.DecideEnforced(via, p.principal, p.name)
			if d.Reason == model.AllowRule {
				continue
			}
			if d.Reason == model.NotRegistered && d.Entry != nil {
				// An Allow rule would make the host known, and the Deny rule heard.
				if i := slices.IndexFunc(d.Entry.Rules, func(r *model.Rule) bool {
					return r.Action == model.Deny && r.Via.Has(via) && r.Matches(p.principal)
				}); i >= 0 {
					d.Reason, d.Rule = model.DenyRule, d.Entry.Rules[i]
				}
			}
			if allowed || d.Reason == model.DenyRule {
				worst = d
			}
			allowed = false
		}
	}
	return worst, allowed
}

func (p *pair) vias() []model.Via {
	var out []model.Via
	if p.ways[model.WayTLS] || p.ways[model.WayConnect] {
		out = append(out, model.ViaTLS)
	}
	if p.ways[model.WayHTTP] || p.ways[model.WayConnect] {
		out = append(out, model.ViaHTTP)
	}
	return out
}

// taken are the pairs to be suggested, sorted.
func (ps *pairs) taken() []*pair {
	ps.judge()
	var out []*pair
	for _, p := range ps.all {
		if p.seen {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *pair) int {
		return cmp.Or(strings.Compare(a.principal, b.principal), strings.Compare(a.host, b.host))
	})
	return out
}

// allowed is how many pairs the policy allows already.
func (ps *pairs) allowed() int {
	ps.judge()
	return ps.granted
}

// left are the pairs that are not suggested, by the reason why.
func (ps *pairs) left() []Left {
	byWhy := make(map[string][]LeftPair)
	for _, p := range ps.all {
		if p.seen {
			continue
		}
		for why, l := range p.left {
			byWhy[why] = append(byWhy[why], *l)
		}
	}
	var out []Left
	for _, why := range slices.Sorted(maps.Keys(byWhy)) {
		list := byWhy[why]
		slices.SortFunc(list, func(a, b LeftPair) int {
			return cmp.Or(strings.Compare(a.Principal, b.Principal), strings.Compare(a.Host, b.Host))
		})
		out = append(out, Left{Why: why, Pairs: list})
	}
	return out
}
