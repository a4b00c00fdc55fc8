package istiopolicies

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"sallyport/test/differential/istioreader"
)

const (
	rootNamespace  = "istio-system"
	ownNamespace   = "egress"
	foreignDomain  = "other.test"
	meshDomain     = "cluster.local" // Istio's word for the mesh's own
	meshPrincipal  = "spiffe://cluster.local/ns/ab/sa/x"
	unlikely       = 12 // one in so many
	refusedInCases = 25
)

func namespaces() []string { return []string{"a", "ab", "b", "default"} }
func accounts() []string   { return []string{"x", "xy", "y.z"} }

// Cases draws policy directories.
func Cases() *rapid.Generator[Case] {
	return rapid.Custom(func(t *rapid.T) Case {
		c := Case{
			Workload: istioreader.Workload{
				RootNamespace: rootNamespace,
				Namespace:     rapid.SampledFrom([]string{rootNamespace, ownNamespace}).Draw(t, "namespace of the gateway"),
				Labels:        map[string]string{"istio": "egressgateway", "app": "istio-egressgateway"},
				TrustDomain:   rapid.SampledFrom([]string{meshDomain, "td.test"}).Draw(t, "trust domain"),
				DefaultAllow:  rapid.Bool().Draw(t, "defaultAction"),
			},
			Ports:       []int{mtlsPort, tlsPort, httpPort},
			RegisterAll: rapid.IntRange(0, 3).Draw(t, "registry") > 0,
			Sources:     map[string]string{},
		}
		all := map[string]string{
			"10.1.0.0/16": "spiffe://" + foreignDomain + "/ns/a/sa/x",
			"10.2.0.0/16": "spiffe://" + foreignDomain + "/ns/legacy/sa/y.z",
			"10.3.0.0/16": "spiffe://" + c.Workload.TrustDomain + "/ns/b/sa/xy",
			"10.4.0.0/16": meshPrincipal,
		}
		for _, cidr := range sortedKeys(all) {
			if rapid.Bool().Draw(t, cidr) {
				c.Sources[cidr] = all[cidr]
			}
		}
		d := &drawer{t: t, c: &c}
		for i := range rapid.IntRange(0, 5).Draw(t, "policies") {
			c.Policies = append(c.Policies, d.policy(fmt.Sprintf("p%d", i)))
		}
		if rapid.IntRange(1, refusedInCases).Draw(t, "refused") == 7 {
			d.spoil()
		}
		return c
	})
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

type drawer struct {
	t *rapid.T
	c *Case
	// deny says that the rules are of a DENY policy: those must not be for nothing.
	deny bool
}

func (d *drawer) one(what string, words ...string) string {
	return rapid.SampledFrom(words).Draw(d.t, what)
}

func (d *drawer) often(what string) bool { return rapid.IntRange(0, 2).Draw(d.t, what) > 0 }

func (d *drawer) rarely(what string) bool {
	return rapid.IntRange(1, unlikely).Draw(d.t, what) == 1
}

func (d *drawer) policy(name string) map[string]any {
	metadata := map[string]any{
		"name":      name,
		"namespace": d.one("namespace", rootNamespace, rootNamespace, rootNamespace, ownNamespace, ownNamespace, "elsewhere"),
	}
	spec := map[string]any{}
	if labels := d.selector(); labels != nil {
		spec["selector"] = map[string]any{"matchLabels": labels}
	}
	action := d.one("action", "", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT")
	if action != "" {
		spec["action"] = action
	}
	if action != "AUDIT" {
		if dry := d.one("dry run", "", "", "", "", "true", "false"); dry != "" {
			metadata["annotations"] = map[string]any{"istio.io/dry-run": dry}
		}
	}
	d.deny = action == "DENY"
	if rules := d.rules(d.deny); rules != nil {
		spec["rules"] = rules
	}
	policy := map[string]any{
		"apiVersion": "security.istio.io/" + d.one("version", "v1", "v1beta1"),
		"kind":       "AuthorizationPolicy",
		"metadata":   metadata,
	}
	if len(spec) > 0 || d.often("empty spec") {
		policy["spec"] = spec
	}
	return policy
}

func (d *drawer) selector() map[string]any {
	switch d.one("selector", "", "", "", "fits", "fits too", "does not", "no such label", "no labels") {
	case "fits":
		return map[string]any{"istio": "egressgateway"}
	case "fits too":
		return map[string]any{"istio": "egressgateway", "app": "istio-egressgateway"}
	case "does not":
		return map[string]any{"istio": "ingressgateway"}
	case "no such label":
		return map[string]any{"istio": "egressgateway", "version": "v1"}
	case "no labels":
		return map[string]any{}
	}
	return nil
}

func (d *drawer) rules(some bool) []any {
	if !some && d.rarely("no rules") {
		if d.often("absent") {
			return nil
		}
		return []any{}
	}
	var out []any
	for range rapid.IntRange(1, 3).Draw(d.t, "rules") {
		out = append(out, d.rule())
	}
	return out
}

func (d *drawer) rule() map[string]any {
	rule := map[string]any{}
	if d.often("from") {
		rule["from"] = d.several("sources", func() any { return map[string]any{"source": d.source()} })
	}
	if !d.often("no to") {
		rule["to"] = d.several("operations", func() any { return map[string]any{"operation": d.operation()} })
	}
	if d.often("when") {
		rule["when"] = d.several("conditions", d.condition)
	}
	return rule
}

func (d *drawer) several(what string, draw func() any) []any {
	var out []any
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(d.t, what) {
		out = append(out, draw())
	}
	return out
}

// values are some of the words, each once.
func (d *drawer) values(what string, words []string) []any {
	var out []any
	for _, w := range rapid.SliceOfNDistinct(rapid.SampledFrom(words), 1, 3, rapid.ID[string]).Draw(d.t, what) {
		out = append(out, w)
	}
	return out
}
