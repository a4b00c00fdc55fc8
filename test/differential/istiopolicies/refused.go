package istiopolicies

import (
	"slices"

	"pgregory.net/rapid"

	"sallyport/test/differential/istioreader"
)

// refusal is a rule that must be refused, and the code of the error.
type refusal struct {
	code string
	rule map[string]any
	// otherDomain says that it takes a mesh whose trust domain is not
	// cluster.local.
	otherDomain bool
}

func refusals() []refusal {
	when := func(key string, values ...any) map[string]any {
		return map[string]any{"when": []any{map[string]any{"key": key, "values": values}}}
	}
	from := func(field string, values ...any) map[string]any {
		return map[string]any{"from": []any{map[string]any{"source": map[string]any{field: values}}}}
	}
	to := func(field string, values ...any) map[string]any {
		return map[string]any{"to": []any{map[string]any{"operation": map[string]any{field: values}}}}
	}
	return []refusal{
		{code: "bad-host", rule: when("connection.sni", "en.*")},
		{code: "bad-host", rule: when("connection.sni", "*pedia.org")},
		{code: "bad-host", rule: when("connection.sni", "EN.wikipedia.org")},
		{code: "bad-host", rule: when("connection.sni", "*.*.org")},
		{code: "bad-host", rule: when("connection.sni", "192.0.2.1")},
		{code: "bad-host", rule: to("hosts", "*.wikipedia.org")},
		{code: "bad-host", rule: to("hosts", "wikipedia.org*")},
		{code: "bad-host", rule: to("notHosts", "wikipedia.org:443")},
		{code: "not-honoured", rule: to("hosts", "wikipedia.org")},
		{code: "not-honoured", rule: to("notHosts", "wikipedia.org:*")},
		{code: "not-honoured", rule: to("ports", "8443")},
		{code: "not-honoured", rule: to("ports", "443")},
		{code: "not-honoured", rule: to("methods", "GET")},
		{code: "not-honoured", rule: from("ipBlocks", "10.0.0.0/8")},
		{code: "not-honoured", rule: from("requestPrincipals", "*")},
		{code: "not-honoured", rule: when("request.headers[x]", "y")},
		{code: "not-honoured", rule: from("principals", "cluster.local/ns/q/*"), otherDomain: true},
		{code: "bad-principal", rule: from("principals", "spiffe://cluster.local/ns/a/sa/x")},
		{code: "bad-principal", rule: from("notPrincipals", "*/ns/a*")},
		{code: "bad-principal", rule: from("namespaces", "*-prod")},
		{code: "bad-principal", rule: from("serviceAccounts", "*/x")},
		{code: "bad-value", rule: to("ports", "https")},
		{code: "empty-list", rule: from("principals")},
		{code: "unknown-field", rule: from("principal", "td.test/ns/a/sa/x")},
		{code: "unknown-value", rule: when("connection.snl", "wikipedia.org")},
		{code: "unknown-value", rule: when("source.namespaces", "a")},
		{code: "missing-field", rule: map[string]any{"from": []any{map[string]any{"source": map[string]any{}}}}},
		{code: "missing-field", rule: map[string]any{"when": []any{map[string]any{"key": "connection.sni"}}}},
	}
}

// Refused are directories that must be refused, one for every reason that
// Cases knows.
func Refused() []Case {
	var out []Case
	for _, r := range refusals() {
		c := Case{Workload: istioreader.Workload{
			RootNamespace: rootNamespace, Namespace: rootNamespace, Labels: map[string]string{"istio": "egressgateway"}, TrustDomain: "td.test",
		}}
		c.refuse(r)
		out = append(out, c)
	}
	return out
}

// spoil adds a policy with a rule that must be refused.
func (d *drawer) spoil() {
	all := refusals()
	if d.c.Workload.TrustDomain == meshDomain {
		all = slices.DeleteFunc(all, func(r refusal) bool { return r.otherDomain })
	}
	d.c.refuse(all[rapid.IntRange(0, len(all)-1).Draw(d.t, "refusal")])
}

func (c *Case) refuse(r refusal) {
	c.Refusals = append(c.Refusals, r.code)
	c.Policies = append(c.Policies, map[string]any{
		"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
		"metadata": map[string]any{"name": "spoilt", "namespace": rootNamespace},
		"spec":     map[string]any{"action": "DENY", "rules": []any{r.rule}},
	})
}
