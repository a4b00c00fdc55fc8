package differential

import (
	"net/netip"
	"time"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// exampleDocuments is a small directory with every kind of filter chain.
func exampleDocuments() *syntax.Documents {
	rule := func(action model.Verdict, from, except string, on ...string) syntax.Rule {
		r := syntax.Rule{Action: action, To: []syntax.To{{Hosts: hosts(patterns(on...))}}}
		if from != "" {
			r.From = []syntax.Peer{{Principal: from}}
		}
		if except != "" {
			r.To[0].Except = hosts(patterns(except))
		}
		return r
	}
	x, z := spiffeID(trustDomain, "a", "x"), spiffeID(trustDomain, "b", "z")
	return &syntax.Documents{
		Gateways: []*syntax.EgressGateway{{
			Meta: syntax.Meta{Name: "egress"}, TrustDomain: trustDomain, AllowAny: true,
			Limits:       model.Limits{Connections: 100, Hosts: 100, ConnectTimeout: 5 * time.Second},
			Certificates: model.Certificates{Certificate: "/certs/gateway.crt", Key: "/certs/gateway.key", CA: "/certs/ca.crt", Roots: "/certs/roots.crt"},
			AccessLog:    "/dev/stdout",
			Listeners: []syntax.Listener{
				{Listener: model.Listener{Name: "mtls", Address: netip.IPv4Unspecified(), Port: 15443, Protocol: model.MutualTLS}},
				{Listener: model.Listener{
					Name: "tls", Address: netip.IPv4Unspecified(), Port: 8443, Protocol: model.TLS,
					Sources: []model.Source{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Principal: x}, {Prefix: netip.MustParsePrefix("10.1.0.0/16"), Principal: z}},
				}},
				{Listener: model.Listener{Name: "http", Address: netip.IPv4Unspecified(), Port: 15080, Protocol: model.HTTP}},
				{Listener: model.Listener{Name: "anyone", Address: netip.IPv4Unspecified(), Port: 8444, Protocol: model.TLS}},
			},
		}},
		Policies: []*syntax.EgressPolicy{
			{Meta: syntax.Meta{Name: "allow"}, Rules: []syntax.Rule{
				rule(model.Allow, x, "secret.a.test", "*.a.test", "plain.test"),
				rule(model.Allow, z, "", "*.a.test", "static.test"),
				rule(model.Allow, "spiffe://"+trustDomain+"/ns/a/*", "", "b.test", "*.common.test"),
				rule(model.Allow, "", "", "*"),
			}},
			{Meta: syntax.Meta{Name: "deny"}, Rules: []syntax.Rule{
				rule(model.Deny, x, "", "*.bad.a.test"),
				rule(model.Deny, "", "", "b.test"),
			}},
		},
		Destinations: []*syntax.Destination{
			{Meta: syntax.Meta{Name: "static"}, Hosts: hosts(patterns("static.test")), ResolveAddresses: []syntax.Address{{Addr: netip.MustParseAddr("9.9.9.9")}}},
			{Meta: syntax.Meta{Name: "common"}, Hosts: hosts(patterns("*.common.test")), ResolveHost: "server.test", Port: 8443},
			{Meta: syntax.Meta{Name: "private", Namespace: "a"}, Hosts: hosts(patterns("plain.test")), AllowPrivate: true, ExportTo: []string{"."}, Originate: &model.Originate{}},
		},
	}
}
