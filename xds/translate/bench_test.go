package translate_test

import (
	"fmt"
	"net/netip"
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

// BenchmarkTranslateEdit prints what an edit of one rule changed: of a model that
// shares all other entries with the one before, as a compiler that goes by what
// changed makes it; and of one that was compiled anew.
func BenchmarkTranslateEdit(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		for _, v := range []struct {
			name           string
			shared, tunnel bool
		}{{"shared", true, false}, {"shared-http", true, true}, {"anew", false, false}} {
			before, after := grantedHosts(n), grantedHosts(n)
			if v.shared {
				after.Entries = append(after.Entries[:1:1], before.Entries[1:]...)
				after.Index()
			}
			after.Entries[0].Rules[0].From = []model.PrincipalMatch{{Value: "spiffe://cluster.local/ns/default/sa/other"}}
			if v.tunnel {
				for _, g := range []*model.Gateway{before, after} {
					g.Listeners = []model.Listener{{Name: "proxy", Address: netip.IPv4Unspecified(), Port: 15080, Protocol: model.HTTP}}
					g.Certificates = model.Certificates{Certificate: "/tls/tls.crt", Key: "/tls/tls.key", CA: "/tls/ca.crt", Roots: "/tls/roots.pem"}
					for _, e := range g.Entries {
						e.Dial.Originate = &model.Originate{}
					}
				}
			}
			t := translate.New()
			for _, g := range []*model.Gateway{before, after, before} { // the start is not an edit
				if _, err := t.Translate(g); err != nil {
					b.Fatal(err)
				}
			}
			b.Run(fmt.Sprintf("hosts=%d/%s", n, v.name), func(b *testing.B) {
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
}
