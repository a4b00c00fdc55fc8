package compile_test

import (
	"fmt"
	"testing"

	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// BenchmarkCompile compiles a policy per host, alone and under 100 wildcards
// that each cover a hundredth of the hosts and have a Deny rule of their own.
func BenchmarkCompile(b *testing.B) {
	for _, hosts := range []int{10, 1_000, 10_000} {
		for _, wildcards := range []int{0, 100} {
			b.Run(fmt.Sprintf("hosts=%d/wildcards=%d", hosts, wildcards), func(b *testing.B) {
				docs := manyHosts(hosts, wildcards)
				b.ReportAllocs()
				for b.Loop() {
					if m, diags := compile.Compile(docs, now); m == nil {
						b.Fatal(diags.Err())
					}
				}
			})
		}
	}
}

// BenchmarkCompileOneRule has all hosts in one rule, each with its exception
// elsewhere: what is linear in a rule's hosts must not be done for each of them.
func BenchmarkCompileOneRule(b *testing.B) {
	var p places
	var patterns []string
	for i := range 10_000 {
		patterns = append(patterns, fmt.Sprintf("*.host%d.org", i), fmt.Sprintf("!not.host%d.org", i))
	}
	docs := documents(p.gateway("egress"), p.policy("a", p.allow("", patterns...), p.deny("", patterns...)))
	b.ReportAllocs()
	for b.Loop() {
		if m, diags := compile.Compile(docs, now); m == nil {
			b.Fatal(diags.Err())
		}
	}
}

// BenchmarkDecide asks a gateway with 10,000 enforced and 10,000 audit
// policies.
func BenchmarkDecide(b *testing.B) {
	docs := manyHosts(10_000, 100)
	for _, p := range manyHosts(10_000, 0).Policies {
		p.Name, p.Mode = "audit-"+p.Name, syntax.Audit
		docs.Policies = append(docs.Policies, p)
	}
	m, diags := compile.Compile(docs, now)
	if m == nil {
		b.Fatal(diags.Err())
	}
	g := m.Gateways[0]
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % 10_000
		d := g.Decide("spiffe://td/ns/ns/sa/x", hostname.Name(fmt.Sprintf("h%d.w%d.org", i, i%100)))
		if d.Verdict != model.Allow || len(d.Audit) != 1 {
			b.Fatal(d)
		}
	}
}

// manyHosts has one policy per host, and one per wildcard.
func manyHosts(hosts, wildcards int) *syntax.Documents {
	var p places
	docs := []any{p.gateway("egress")}
	for i := range hosts {
		docs = append(docs, p.policy(fmt.Sprintf("ns/p%d", i), p.allow("sa:x", fmt.Sprintf("h%d.w%d.org", i, i%100))))
	}
	for i := range wildcards {
		docs = append(docs, p.policy(fmt.Sprintf("ns/w%d", i),
			p.allow("sa:y sa:z", fmt.Sprintf("*.w%d.org", i)),
			p.deny("sa:y", fmt.Sprintf("*.deep.w%d.org", i))))
	}
	return documents(docs...)
}
