package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// defaultPort is dialled where no Destination says otherwise: HTTPS, RFC 9110
// §4.2.2.
const defaultPort = 443

// registry finds what the Destinations, and Istio's documents, say about a
// pattern.
type registry struct {
	patterns []hostname.Pattern
	index    *hostindex.Index[*registered]
}

// registered is what a document says about one of its hosts.
type registered struct {
	pattern  hostname.Pattern
	at       diag.Position
	by       string
	exportTo exports.Set
	dial     model.Dial
	// addresses are the dial's, as they are written, and hint what to do if they
	// are not dialled.
	addresses []syntax.Address // Istio's only: the others have been checked
	hint      string
	native    bool
}

func (c *compiler) registry(g *syntax.EgressGateway) *registry {
	found, diags := istio.Registry(&c.docs, g)
	c.diags = append(c.diags, diags...)
	var all []*registered
	for _, d := range c.docs.Destinations {
		all = append(all, hostsOf(d)...)
	}
	for _, f := range found {
		all = append(all, fromIstio(f))
	}
	r := &registry{index: &hostindex.Index[*registered]{}}
	for _, d := range c.unite(all) {
		c.checkRegistered(d, g)
		r.patterns = append(r.patterns, d.pattern)
		r.index.Add(d.pattern, d)
	}
	return r
}

// hostsOf are the hosts of a Destination.
func hostsOf(d *syntax.Destination) []*registered {
	out := make([]*registered, 0, len(d.Hosts))
	for _, h := range d.Hosts {
		out = append(out, &registered{
			pattern: h.Pattern, at: place(h.Pos, d.Pos), by: "Destination " + fullName(&d.Meta), exportTo: exportTo(d), dial: dial(d), native: true,
		})
	}
	return out
}

func fromIstio(f istio.Registration) *registered {
	return &registered{
		pattern: f.Pattern, at: f.At, by: f.By, exportTo: f.ExportTo, dial: f.Dial, addresses: f.Addresses, hint: f.Hint,
	}
}

// unite makes one of several that are registered under one pattern. The order of
// what it is given does not matter.
func (c *compiler) unite(all []*registered) []*registered {
	slices.SortStableFunc(all, func(a, b *registered) int {
		return cmp.Or(hostname.Compare(a.pattern, b.pattern), a.at.Compare(b.at))
	})
	var out []*registered
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(d *registered) bool { return d.pattern != all[0].pattern })
		if n < 0 {
			n = len(all)
		}
		out = append(out, c.uniteSame(all[:n]))
		all = all[n:]
	}
	return out
}

// uniteSame makes one of several of a pattern, sorted by their places, for
// different namespaces, and reached alike.
func (c *compiler) uniteSame(all []*registered) *registered {
	if len(all) == 1 {
		return all[0]
	}
	first := *all[0]
	for _, d := range all[1:] {
		switch {
		case first.native && d.native && first.exportTo.Overlaps(d.exportTo): // has been reported
		case !istio.SameDial(first.dial, d.dial):
			c.diags.Errorf(d.at, "conflicting-destinations", "%s reaches %s in another way than %s, at %s: make them the same, or leave one",
				d.by, d.pattern, first.by, first.at)
		default:
			first.exportTo = first.exportTo.Union(d.exportTo)
		}
	}
	return &first
}

// find returns what the most specific document that covers the pattern says, or
// nil.
func (r *registry) find(p hostname.Pattern) *registered {
	for found := range r.index.Covering(p) {
		return found
	}
	return nil
}

// exportTo are the namespaces that may use the Destination.
func exportTo(d *syntax.Destination) exports.Set {
	if len(d.ExportTo) == 0 || slices.Contains(d.ExportTo, "*") {
		return nil
	}
	out := slices.Clone(d.ExportTo)
	for i, namespace := range out {
		if namespace == "." {
			out[i] = d.Namespace
		}
	}
	return exports.Of(out...)
}

func dial(d *syntax.Destination) model.Dial {
	out := model.Dial{Port: d.Port, Host: string(d.ResolveHost), AllowPrivate: d.AllowPrivate, Originate: d.Originate}
	if out.Port == 0 {
		out.Port = defaultPort
	}
	for _, a := range d.ResolveAddresses {
		out.Addresses = append(out.Addresses, a.Addr)
	}
	slices.SortFunc(out.Addresses, netip.Addr.Compare)
	out.Addresses = slices.Compact(out.Addresses)
	return out
}
