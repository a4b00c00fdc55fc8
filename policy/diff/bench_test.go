package diff_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/diff"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// manyHosts are 10,000 hosts in policies of their own for 100 service accounts,
// under 100 wildcards that are granted to somebody else.
func manyHosts(b *testing.B) *syntax.Documents {
	pattern := func(s string) []syntax.To {
		p, err := hostname.ParsePattern(s)
		require.NoError(b, err)
		return []syntax.To{{Hosts: []syntax.Host{{Pattern: p}}}}
	}
	docs := &syntax.Documents{Gateways: []*syntax.EgressGateway{{Meta: syntax.Meta{Name: "egress"}, TrustDomain: "td"}}}
	add := func(name, account, host string) {
		p := &syntax.EgressPolicy{Meta: syntax.Meta{Name: name, Namespace: "a"}}
		p.Rules = []syntax.Rule{{Action: model.Allow, From: []syntax.Peer{{ServiceAccount: account}}, To: pattern(host)}}
		docs.Policies = append(docs.Policies, p)
	}
	for i := range 10_000 {
		add(fmt.Sprintf("h%d", i), fmt.Sprintf("s%d", i%100), fmt.Sprintf("h%d.w%d.example.com", i, i%100))
	}
	for i := range 100 {
		add(fmt.Sprintf("w%d", i), "w", fmt.Sprintf("*.w%d.example.com", i))
	}
	return docs
}

// BenchmarkDiff compares 10,000 hosts with 10,000 hosts, both compiled already.
func BenchmarkDiff(b *testing.B) {
	for _, bc := range []struct {
		name string
		edit func(docs *syntax.Documents)
		want int
	}{
		{"nothing", func(*syntax.Documents) {}, 0},
		{"few-edits", func(docs *syntax.Documents) {
			for i := range 5 {
				docs.Policies[i*100].Rules[0].Action = model.Deny
			}
		}, 5},
		{"all-renamed", func(docs *syntax.Documents) {
			for i, p := range docs.Policies {
				p.Name = fmt.Sprintf("p%d", 20_000-i)
			}
		}, 0},
		{"all-denied", func(docs *syntax.Documents) {
			for _, p := range docs.Policies {
				p.Rules[0].Action = model.Deny
			}
		}, 20_100},
		{"another-trust-domain", func(docs *syntax.Documents) { docs.Gateways[0].TrustDomain = "other" }, 20_200},
	} {
		b.Run(bc.name, func(b *testing.B) {
			before, diags := compile.Compile(manyHosts(b), now)
			require.NoError(b, diags.Err())
			docs := manyHosts(b)
			bc.edit(docs)
			after, diags := compile.Compile(docs, now)
			require.NoError(b, diags.Err())
			b.ReportAllocs()
			for b.Loop() {
				got := 0
				for _, g := range diff.Compare(before, after, diff.Options{}).Gateways {
					got += len(g.Access)
				}
				require.Equal(b, bc.want, got)
			}
		})
	}
}
