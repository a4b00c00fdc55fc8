package lint

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/syntax"
)

// mention is a place where a namespace is named; nowhere if it is only meant.
type mention struct {
	namespace string
	pos       diag.Position
}

// checkNamespaces reports the namespaces that are named once, and look like
// another one that is named more often. There is no list of namespaces, so that a
// new one is no finding of its own.
func (l *linter) checkNamespaces() {
	var m mentions
	m.documents(l.docs)
	m.istio(&l.docs.Istio)
	times := make(map[string]int)
	for _, x := range m {
		times[x.namespace]++
	}
	once := slices.DeleteFunc(slices.Clone(m), func(x mention) bool { return times[x.namespace] > 1 || x.pos.IsZero() })
	if len(once) == 0 {
		return
	}
	var often spellings
	for n, count := range times {
		if count > 1 {
			often.add(n)
		}
	}
	for _, x := range once {
		alike := often.alike(x.namespace)
		if len(alike) == 0 {
			continue
		}
		slices.SortFunc(alike, func(a, b string) int { return cmp.Or(times[b]-times[a], strings.Compare(a, b)) })
		l.warn(x.pos, UnknownNamespace, nil, "the namespace %s is named nowhere else, and %s is: if that is meant, correct the spelling", x.namespace, alike[0])
	}
}

type mentions []mention

func (m *mentions) add(namespace string, pos diag.Position) {
	if namespace != "" && namespace != "." && !strings.ContainsAny(namespace, "*~") {
		*m = append(*m, mention{namespace, pos})
	}
}

func (m *mentions) meta(d *syntax.Meta) { m.add(d.Namespace, place(d.NamePos, d.Pos)) }

// principal is about SPIFFE IDs and prefixes of them.
func (m *mentions) principal(id string, pos diag.Position) {
	parts := strings.Split(strings.TrimPrefix(id, "spiffe://"), "/")
	if len(parts) > 3 && parts[1] == "ns" {
		m.add(parts[2], pos)
	}
}

func (m *mentions) peer(p syntax.Peer) {
	m.add(p.Namespace, place(p.NamespacePos, p.Pos))
	m.principal(p.Principal, p.Pos)
}

func (m *mentions) tests(all []syntax.Test) {
	for _, t := range all {
		m.peer(t.From)
	}
}

func (m *mentions) documents(docs *syntax.Documents) {
	for _, p := range docs.Policies {
		m.meta(&p.Meta)
		for i := range p.Rules {
			for _, peer := range p.Rules[i].From {
				m.peer(peer)
			}
		}
		m.tests(p.Tests)
	}
	for _, d := range docs.Destinations {
		m.meta(&d.Meta)
		for _, n := range d.ExportTo {
			m.add(n, place(d.ExportToPos, d.Pos))
		}
	}
	for _, t := range docs.Tests {
		m.meta(&t.Meta)
		m.tests(t.Tests)
	}
	for _, g := range docs.Gateways {
		for _, n := range []string{g.Istio.RootNamespace, g.Istio.Namespace} {
			m.add(n, diag.Position{}) // it may be the default
		}
		for _, id := range g.Nodes {
			m.principal(id, g.Pos)
		}
		for _, listener := range g.Listeners {
			for _, s := range listener.Sources {
				m.principal(s.Principal, place(listener.Pos, g.Pos))
			}
		}
	}
}

func (m *mentions) istio(docs *syntax.Istio) {
	exports := func(list []syntax.Text) {
		for _, t := range list {
			m.add(t.Value, t.Pos)
		}
	}
	for _, d := range docs.AuthorizationPolicies {
		m.meta(&d.Meta)
		for i := range d.Rules {
			m.authorizationRule(&d.Rules[i])
		}
	}
	for _, d := range docs.ServiceEntries {
		m.meta(&d.Meta)
		exports(d.ExportTo)
	}
	for _, d := range docs.Gateways {
		m.meta(&d.Meta)
	}
	for _, d := range docs.VirtualServices {
		m.meta(&d.Meta)
		exports(d.ExportTo)
	}
	for _, d := range docs.DestinationRules {
		m.meta(&d.Meta)
		exports(d.ExportTo)
	}
}

func (m *mentions) authorizationRule(r *syntax.AuthorizationRule) {
	principals := func(list []syntax.Text) {
		for _, t := range list {
			m.principal(t.Value, t.Pos)
		}
	}
	namespaces := func(list []syntax.Text) {
		for _, t := range list {
			m.add(t.Value, t.Pos)
		}
	}
	for _, s := range r.From {
		namespaces(slices.Concat(s.Namespaces, s.NotNamespaces))
		principals(slices.Concat(s.Principals, s.NotPrincipals))
		for _, t := range slices.Concat(s.ServiceAccounts, s.NotServiceAccounts) {
			if n, _, ok := strings.Cut(t.Value, "/"); ok {
				m.add(n, t.Pos)
			}
		}
	}
	for _, w := range r.When {
		switch w.Key {
		case syntax.KeyNamespace:
			namespaces(slices.Concat(w.Values, w.NotValues))
		case syntax.KeyPrincipal:
			principals(slices.Concat(w.Values, w.NotValues))
		}
	}
}
