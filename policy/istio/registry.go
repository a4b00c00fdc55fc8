package istio

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Registration makes the hosts of a pattern known.
type Registration struct {
	Pattern hostname.Pattern
	// At is where that is written, and By names it, for a person.
	At diag.Position
	By string
	// ExportTo are the namespaces that may use it.
	ExportTo exports.Set
	Dial     model.Dial
	// Addresses are Dial.Addresses, as they are written.
	Addresses []syntax.Address
	// Hint is what to do if those are not dialled; it may be empty.
	Hint string
	// closed says that in Istio other namespaces that know the host have their
	// connections closed.
	closed bool
}

// Registry says which hosts the ServiceEntries, Gateways, VirtualServices and
// DestinationRules make known at a gateway, and how it reaches them. A pattern
// stands there once, and if several cover a name, the most specific one has
// the whole meaning.
func Registry(docs *syntax.Documents, g *syntax.EgressGateway) ([]Registration, diag.List) {
	found, _, diags := RegistryByPolicies(docs, g)
	return found, diags
}

// RegistryByPolicies is Registry, and says whether AuthorizationPolicies had a
// say in it: their conditions do where a route changes server names. If they had
// none, others would not change the result.
func RegistryByPolicies(docs *syntax.Documents, g *syntax.EgressGateway) (found []Registration, byPolicies bool, diags diag.List) {
	r := newRegistry(docs, g)
	r.readEntries()
	r.readGateways()
	r.readRoutes()
	r.readDestinationRules()
	for _, e := range r.entries {
		for _, h := range e.doc.Hosts {
			r.register(e, h)
		}
	}
	out := r.unite()
	r.lookForUnused(out)
	return out, r.toward.read, r.diags
}

// registry is what the documents say at one gateway.
type registry struct {
	place syntax.IstioGatewayPlace
	docs  syntax.Istio // sorted copies of the lists
	// services are the host names of all groups of gateways in the mesh.
	services map[string]*syntax.EgressGateway
	group    *syntax.EgressGateway
	groups   []*syntax.EgressGateway
	diags    diag.List

	entries []*entry
	// byHost has the entries under their hosts.
	byHost hostindex.Index[*entry]
	// gateways are the Gateways, whose if it is this group's.
	gateways map[gatewayKey]*ownGateway
	servers  servers
	legs     legs
	rules    destinationRules
	toward   toGateways

	found []Registration
}

type gatewayKey struct{ namespace, name string }

func newRegistry(docs *syntax.Documents, g *syntax.EgressGateway) *registry {
	r := &registry{
		place: Place(g), group: g, groups: docs.Gateways,
		services: make(map[string]*syntax.EgressGateway),
		gateways: make(map[gatewayKey]*ownGateway),
	}
	for _, other := range docs.Gateways {
		if service := serviceName(Place(other)); r.services[service] == nil {
			r.services[service] = other
		}
	}
	r.services[serviceName(r.place)] = g
	// Nothing may depend on the order in which the files were read.
	r.docs.ServiceEntries = inOrder(docs.Istio.ServiceEntries, func(d *syntax.ServiceEntry) *syntax.Meta { return &d.Meta })
	r.docs.Gateways = inOrder(docs.Istio.Gateways, func(d *syntax.IstioGateway) *syntax.Meta { return &d.Meta })
	r.docs.VirtualServices = inOrder(docs.Istio.VirtualServices, func(d *syntax.VirtualService) *syntax.Meta { return &d.Meta })
	r.docs.DestinationRules = inOrder(docs.Istio.DestinationRules, func(d *syntax.DestinationRule) *syntax.Meta { return &d.Meta })
	r.docs.AuthorizationPolicies = inOrder(docs.Istio.AuthorizationPolicies, func(d *syntax.AuthorizationPolicy) *syntax.Meta { return &d.Meta })
	return r
}

// inOrder is the documents by their positions.
func inOrder[T any](docs []*T, meta func(*T) *syntax.Meta) []*T {
	out := slices.Clone(docs)
	slices.SortStableFunc(out, func(a, b *T) int {
		x, y := meta(a), meta(b)
		return cmp.Or(x.Pos.Compare(y.Pos), strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
	})
	return out
}

func serviceName(p syntax.IstioGatewayPlace) string { return strings.ToLower(p.Service) }

// fullHost is a host as it is written in a document of the namespace: a short
// name means the service of that name in the namespace.
func fullHost(p hostname.Pattern, namespace string) hostname.Pattern {
	if p.IsWildcard() || strings.Contains(p.Base(), ".") {
		return p
	}
	full, err := hostname.ParsePattern(p.Base() + "." + namespace + ".svc.cluster.local")
	if err != nil {
		return p
	}
	return full
}

// fullName is how a person refers to a document.
func fullName(kind string, m *syntax.Meta) string {
	return kind + " " + m.Namespace + "/" + m.Name
}

// visibility is the namespaces that a document is shown to. Like Istio, it
// refuses what is said twice or taken back; ok says that nothing was.
func (r *registry) visibility(namespace string, list []syntax.Text) (set exports.Set, ok bool) {
	ok = true
	refuse := func(t syntax.Text, format string, args ...any) {
		r.diags.Errorf(t.Pos, "bad-export", format, args...)
		ok = false
	}
	seen := make(map[string]bool)
	var names []string
	for _, t := range list {
		name := t.Value
		if name == "." {
			name = namespace
		}
		switch {
		case seen[name]:
			refuse(t, "%s is here twice: . is the document's own namespace, %s", t.Value, namespace)
		case (name == "*" || name == "~") && len(list) > 1:
			refuse(t, "%s cannot stand beside others: leave it alone, or remove it", t.Value)
		}
		seen[name] = true
		if name != "~" {
			names = append(names, name)
		}
	}
	if len(list) == 0 || seen["*"] {
		return nil, ok
	}
	return exports.Of(names...), ok
}
