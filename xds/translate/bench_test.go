package translate_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// grantedHosts is a gateway with one Allow rule of its own for each of n hosts.
func grantedHosts(n int) *model.Gateway {
	whom := []model.PrincipalMatch{{Value: "spiffe://cluster.local/ns/default/sa/app"}}
	g := &model.Gateway{
		Name: "egress", TrustDomain: "cluster.local", HasAllowPolicy: true, AccessLog: "/dev/stdout",
		Limits: model.Limits{Connections: 100000, Hosts: 10000, ConnectTimeout: 5 * time.Second},
	}
	for i := range n {
		p := hostname.Exactly(hostname.Name(fmt.Sprintf("host-%d.example.com", i)))
		g.Entries = append(g.Entries, &model.Entry{
			Pattern: p, Registered: true, Dial: model.Dial{Port: 443},
			Rules: []*model.Rule{{
				ID: model.RuleID{Namespace: "default", Policy: fmt.Sprintf("p-%d", i)}, Action: model.Allow,
				From: whom, To: []model.To{{Hosts: []hostname.Pattern{p}}},
			}},
		})
	}
	g.Index()
	return g
}

// BenchmarkTranslate prints everything, as a fresh start does.
func BenchmarkTranslate(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		g := grantedHosts(n)
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := translate.New().Translate(g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTranslateEdit prints what an edit of one rule changed.
func BenchmarkTranslateEdit(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		t := translate.New()
		before, after := grantedHosts(n), grantedHosts(n)
		after.Entries[0].Rules[0].From = []model.PrincipalMatch{{Value: "spiffe://cluster.local/ns/default/sa/other"}}
		b.Run(fmt.Sprintf("hosts=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g := before
				if i%2 == 0 {
					g = after
				}
				if _, err := t.Translate(g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
