package istiopolicies

import (
	"maps"
	"slices"

	"pgregory.net/rapid"
)

// The words that policies are made of. Each is one that can be honoured.

func (d *drawer) principals() []string {
	domain := d.c.Workload.TrustDomain
	words := []string{
		"*", "*/sa/x", "*x", "*xy", "*/ns/a/sa/x", "*/ns/b/sa/xy", "*.z", "*l/ns/a/sa/x", "*t/ns/ab/sa/xy", "*/a/sa/x",
		domain + "/*", domain + "/ns/a*", domain + "/ns/a/*", domain + "/ns/ab/sa/*", domain + "/ns/a/sa/x*", domain[:1] + "*",
		foreignDomain + "/ns/a/sa/x", foreignDomain + "/ns/*", "nowhere.test/ns/a/sa/x", "*.test/ns/a/sa/x",
		"cluster.local/ns/default/sa/*", "cluster.local/ns/a/sa/x*", "cluster.local/ns/b/sa/y*",
	}
	for _, ns := range namespaces() {
		for _, sa := range accounts() {
			words = append(words, domain+"/ns/"+ns+"/sa/"+sa, "cluster.local/ns/"+ns+"/sa/"+sa)
		}
	}
	if domain == meshDomain || slices.Contains(slices.Collect(maps.Values(d.c.Sources)), meshPrincipal) {
		// Elsewhere they must be refused: see refusals.
		words = append(words, meshDomain+"/*", meshDomain+"/ns/a*", meshDomain+"/ns/ab/*")
	}
	return words
}

func namespaceWords() []string {
	return append(namespaces(), "legacy", "nobody", "*", "a*", "d*", "defaul*", "ab*", "nobody-*")
}

func accountWords() []string {
	return []string{"x", "xy", "a/x", "a/xy", "ab/x", "b/y.z", "default/x", "legacy/y.z", "nobody/x"}
}

func (d *drawer) domainWords() []string {
	return []string{"*", d.c.Workload.TrustDomain, foreignDomain, "*.test", "c*", "o*", "*l", "nowhere"}
}

func serverNames() []string {
	return append(Hosts(),
		"*", "*.org", "*.org", "*.wikipedia.org", "*.wikipedia.org", "*.en.wikipedia.org", "*.example.com", "*.b.example.com", "*.test", "*.api.test", "nobody.asks.example")
}

// source draws the fields of a source, at least one.
func (d *drawer) source() map[string]any {
	out := map[string]any{}
	put := func(field string, words []string) { out[field] = d.values(field, words) }
	if d.rarely("service accounts") {
		put(d.one("field", "serviceAccounts", "notServiceAccounts"), accountWords())
		if d.often("others") {
			put("notServiceAccounts", accountWords())
		}
		return out
	}
	for _, field := range []string{"principals", "namespaces", "notPrincipals", "notNamespaces", "trustDomains", "notTrustDomains"} {
		if d.has(field) {
			switch field {
			case "principals", "notPrincipals":
				put(field, d.principals())
			case "namespaces", "notNamespaces":
				put(field, namespaceWords())
			default:
				put(field, d.domainWords())
			}
		}
	}
	if len(out) == 0 {
		put("principals", d.principals())
	}
	return out
}

// has says of a field whether it is there: negations and trust domains less
// often.
func (d *drawer) has(field string) bool {
	switch field {
	case "principals", "namespaces":
		return !d.often(field)
	case "notPrincipals", "notNamespaces":
		return rapid.IntRange(0, 6).Draw(d.t, field) == 3
	default:
		return d.rarely(field)
	}
}

func (d *drawer) operation() map[string]any {
	out := map[string]any{}
	for _, field := range []string{"hosts", "notHosts"} {
		if d.often(field) {
			continue
		}
		if d.rarely("any host") {
			out[field] = []any{"*"}
			continue
		}
		var hosts []any
		for _, h := range d.values(field, Hosts()) {
			hosts = append(hosts, d.cased(h.(string)), d.cased(h.(string))+":*")
		}
		out[field] = hosts
	}
	all := portWords(d.c.Ports...)
	ports := []string{"", "", "all", "and more", "not others"}
	if !d.deny {
		ports = append(ports, "none", "not all")
	}
	switch d.one("ports", ports...) {
	case "all":
		out["ports"] = all
	case "and more":
		out["ports"] = append(all, "443", "0")
	case "none":
		out["ports"] = portWords(443)
	case "not all":
		out["notPorts"] = all
	case "not others":
		out["notPorts"] = portWords(443, 80)
	}
	if len(out) == 0 {
		out["ports"] = all
	}
	return out
}

// cased is the word in some mix of cases.
func (d *drawer) cased(s string) string {
	if !d.rarely("capitals") {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && i%2 == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func (d *drawer) condition() any {
	key := "connection.sni"
	if !d.often("server name") {
		key = d.one("key", "source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain")
	}
	words := map[string][]string{
		"connection.sni": serverNames(), "source.principal": d.principals(), "source.namespace": namespaceWords(),
		"source.serviceAccount": accountWords(), "source.trustDomain": d.domainWords(),
	}[key]
	out := map[string]any{"key": key}
	if d.often("values") {
		out["values"] = d.values("values", words)
	}
	if len(out) == 1 || !d.often("notValues") {
		out["notValues"] = d.values("notValues", words)
	}
	return out
}
