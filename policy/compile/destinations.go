package compile

import (
	"net/netip"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// defaultPort is dialled where no Destination says otherwise: HTTPS, RFC 9110
// §4.2.2.
const defaultPort = 443

// registry finds what the Destinations say about a pattern.
type registry struct {
	patterns []hostname.Pattern
	index    hostindex.Index[*registered]
}

// registered is what a Destination says about one of its hosts.
type registered struct {
	at       diag.Position
	by       string
	exportTo []string
	dial     model.Dial
}

func (c *compiler) registry() *registry {
	r := &registry{}
	for _, d := range c.docs.Destinations {
		for _, h := range d.Hosts {
			r.patterns = append(r.patterns, h.Pattern)
			r.index.Add(h.Pattern, &registered{
				at: place(h.Pos, d.Pos), by: "Destination " + fullName(&d.Meta), exportTo: exportTo(d), dial: dial(d),
			})
		}
	}
	return r
}

// find returns what the most specific Destination that covers the pattern
// says, or nil.
func (r *registry) find(p hostname.Pattern) *registered {
	for found := range r.index.Covering(p) {
		return found
	}
	return nil
}

// exportTo are the namespaces that may use the Destination, nil for all.
func exportTo(d *syntax.Destination) []string {
	if len(d.ExportTo) == 0 || slices.Contains(d.ExportTo, "*") {
		return nil
	}
	out := slices.Clone(d.ExportTo)
	for i, namespace := range out {
		if namespace == "." {
			out[i] = d.Namespace
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func dial(d *syntax.Destination) model.Dial {
	out := model.Dial{Port: d.Port, Host: string(d.ResolveHost), AllowPrivate: d.AllowPrivate}
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
