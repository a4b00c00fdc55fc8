package differential

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// show prints what matters of the documents, for a failure to be understood.
func show(docs *syntax.Documents) string {
	var b strings.Builder
	for _, g := range docs.Gateways {
		i := slices.IndexFunc(g.Listeners, func(l syntax.Listener) bool { return l.Protocol == model.TLS })
		fmt.Fprintf(&b, "gateway: trustDomain %s, allowAny %v, defaultAction %v, addresses %v, family %v, sources %v\n",
			g.TrustDomain, g.AllowAny, g.DefaultAction, g.Addresses, g.DNS.Family, g.Listeners[i].Sources)
	}
	for _, p := range docs.Policies {
		fmt.Fprintf(&b, "policy %s/%s: mode %v, expires %v\n", p.Namespace, p.Name, p.Mode, p.Expires)
		for _, r := range p.Rules {
			fmt.Fprintf(&b, "  %v from", r.Action)
			for i, peer := range r.From {
				if i > 5 {
					fmt.Fprintf(&b, " … (%d)", len(r.From))
					break
				}
				fmt.Fprintf(&b, " {%s %s %s}", peer.Principal, peer.Namespace, peer.ServiceAccount)
			}
			for _, to := range r.To {
				fmt.Fprintf(&b, " to %v except %v", patternsOf(to.Hosts), patternsOf(to.Except))
			}
			b.WriteString("\n")
		}
	}
	for _, d := range docs.Destinations {
		fmt.Fprintf(&b, "destination %s/%s: %v, port %d, host %q, addresses %v, exportTo %v, private %v, originate %v\n",
			d.Namespace, d.Name, patternsOf(d.Hosts), d.Port, d.ResolveHost, d.ResolveAddresses, d.ExportTo, d.AllowPrivate, d.Originate)
	}
	return b.String()
}

func patternsOf(hosts []syntax.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Pattern.String())
	}
	return out
}
