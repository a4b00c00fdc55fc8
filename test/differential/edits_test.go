package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// edited is the documents after a change of any kind that a person could make.
func edited(t *rapid.T, docs *syntax.Documents) *syntax.Documents {
	out := copied(docs)
	g := out.Gateways[0]
	edits := map[string]func(){
		"add a policy": func() {
			g.TrustDomain = trustDomain
			out.Policies = append(out.Policies, aPolicy(freeName(out)).Draw(t, "policy"))
		},
		"remove a policy": func() {
			out.Policies = without(t, out.Policies)
		},
		"add a rule": func() {
			if p := somePolicy(t, out); p != nil {
				p.Rules = append(p.Rules, rule(p.Namespace).Draw(t, "rule"))
			}
		},
		"remove the last rule": func() {
			if p := somePolicy(t, out); p != nil && len(p.Rules) > 1 {
				p.Rules = p.Rules[:len(p.Rules)-1]
			}
		},
		"another action": func() {
			if p := somePolicy(t, out); p != nil {
				p.Rules[0].Action = model.Allow - p.Rules[0].Action
			}
		},
		"other principals": func() {
			if p := somePolicy(t, out); p != nil {
				p.Rules[0].From = from(p.Namespace).Draw(t, "from")
			}
		},
		"other conditions": func() {
			for _, p := range out.Policies {
				for i, r := range p.Rules {
					if marked(r.From, whereMark) {
						p.Rules[i].From = []syntax.Peer{whereMarked(aWho().Draw(t, "who"))}
					}
				}
			}
		},
		"other hosts": func() {
			if p := somePolicy(t, out); p != nil {
				p.Rules[0].To[0].Hosts = hosts(rapid.SliceOfN(pattern(), 1, 3).Draw(t, "hosts"))
			}
		},
		"other exceptions": func() {
			if p := somePolicy(t, out); p != nil {
				p.Rules[0].To[0].Except = hosts(rapid.SliceOfN(pattern(), 0, 3).Draw(t, "except"))
			}
		},
		"another fate": func() {
			if p := somePolicy(t, out); p != nil {
				p.Mode = rapid.SampledFrom([]syntax.Mode{syntax.Enforce, syntax.Audit}).Draw(t, "mode")
				p.Expires = rapid.SampledFrom([]time.Time{{}, now().Add(-time.Hour)}).Draw(t, "expires")
			}
		},
		"add a Destination": func() {
			d := destination(freeName(out)).Draw(t, "destination")
			d.Hosts = slices.DeleteFunc(d.Hosts, func(h syntax.Host) bool { return taken(out, h.Pattern) })
			if len(d.Hosts) > 0 {
				out.Destinations = append(out.Destinations, d)
			}
		},
		"remove a Destination": func() {
			out.Destinations = without(t, out.Destinations)
		},
		"another Destination": func() {
			if len(out.Destinations) > 0 {
				d := out.Destinations[rapid.IntRange(0, len(out.Destinations)-1).Draw(t, "which")]
				drawn := destination("drawn").Draw(t, "destination")
				d.Port, d.ExportTo, d.AllowPrivate, d.Originate = drawn.Port, drawn.ExportTo, drawn.AllowPrivate, drawn.Originate
				d.ResolveHost, d.ResolveAddresses = drawn.ResolveHost, drawn.ResolveAddresses
			}
		},
		"outbound":      func() { g.AllowAny = !g.AllowAny },
		"defaultAction": func() { g.DefaultAction = model.Allow - g.DefaultAction },
		"sources":       func() { g.Listeners[1].Sources = sources().Draw(t, "sources") },
		"a resolver":    func() { g.DNS.Resolvers = append(g.DNS.Resolvers, netip.MustParseAddrPort("192.0.2.54:53")) },
		"the addresses": func() { g.Addresses.Refuse = someRanges("10.9.9.0/24", "198.18.7.0/24").Draw(t, "refused addresses") },
		"limits":        func() { g.Limits.Hosts++ },
		"the log":       func() { g.AccessLog += "x" },
		"the stream":    func() { g.LogStream = (g.LogStream + 1) % (model.StreamAll + 1) },
		"a trust domain": func() {
			// The principals of a namespaced policy must be of the trust domain.
			if !slices.ContainsFunc(out.Policies, func(p *syntax.EgressPolicy) bool { return p.Namespace != "" }) {
				g.TrustDomain = otherDomain
			}
		},
	}
	kinds := make([]string, 0, len(edits))
	for kind := range edits {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	edits[rapid.SampledFrom(kinds).Draw(t, "edit")]()
	return out
}

func somePolicy(t *rapid.T, docs *syntax.Documents) *syntax.EgressPolicy {
	if len(docs.Policies) == 0 {
		return nil
	}
	return docs.Policies[rapid.IntRange(0, len(docs.Policies)-1).Draw(t, "which policy")]
}

func without[T any](t *rapid.T, list []T) []T {
	if len(list) == 0 {
		return list
	}
	i := rapid.IntRange(0, len(list)-1).Draw(t, "without")
	return slices.Delete(list, i, i+1)
}

func taken(docs *syntax.Documents, p hostname.Pattern) bool {
	return slices.ContainsFunc(docs.Destinations, func(d *syntax.Destination) bool {
		return slices.ContainsFunc(d.Hosts, func(h syntax.Host) bool { return h.Pattern == p })
	})
}

// freeName is one that sorts among the others or behind them.
func freeName(docs *syntax.Documents) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("o%d", i)
		used := slices.ContainsFunc(docs.Policies, func(p *syntax.EgressPolicy) bool { return p.Name == name }) ||
			slices.ContainsFunc(docs.Destinations, func(d *syntax.Destination) bool { return d.Name == name })
		if !used {
			return name
		}
	}
}
