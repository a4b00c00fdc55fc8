package differential

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// now is the moment that all policies are compiled for.
func now() time.Time { return time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC) }

// documents draws a whole policy directory with one gateway.
func documents() *rapid.Generator[*syntax.Documents] {
	return rapid.Custom(func(t *rapid.T) *syntax.Documents {
		docs := &syntax.Documents{Gateways: []*syntax.EgressGateway{gateway().Draw(t, "gateway")}}
		for i := range rapid.IntRange(0, 6).Draw(t, "policies") {
			docs.Policies = append(docs.Policies, aPolicy(fmt.Sprintf("p%d", i)).Draw(t, "policy"))
		}
		taken := make(map[hostname.Pattern]bool)
		for i := range rapid.IntRange(0, 3).Draw(t, "destinations") {
			d := destination(fmt.Sprintf("d%d", i)).Draw(t, "destination")
			d.Hosts = slices.DeleteFunc(d.Hosts, func(h syntax.Host) bool {
				was := taken[h.Pattern]
				taken[h.Pattern] = true
				return was
			})
			if len(d.Hosts) > 0 {
				docs.Destinations = append(docs.Destinations, d)
			}
		}
		return docs
	})
}

func gateway() *rapid.Generator[*syntax.EgressGateway] {
	return rapid.Custom(func(t *rapid.T) *syntax.EgressGateway {
		g := &syntax.EgressGateway{
			Meta:          syntax.Meta{Name: "egress", Pos: diag.Position{File: "gateway.yaml", Line: 1, Column: 1}},
			TrustDomain:   trustDomain,
			Mode:          rapid.SampledFrom([]syntax.Mode{syntax.Enforce, syntax.Enforce, syntax.Enforce, syntax.Audit}).Draw(t, "mode"),
			AllowAny:      rapid.IntRange(0, 3).Draw(t, "AllowAny") == 0,
			DefaultAction: rapid.SampledFrom([]model.Verdict{model.Deny, model.Allow}).Draw(t, "defaultAction"),
			DNS: model.DNS{
				Resolvers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
				Family:    rapid.SampledFrom([]model.Family{model.FamilyAuto, model.FamilyV4Only, model.FamilyV6Only, model.FamilyV4Preferred, model.FamilyAll}).Draw(t, "family"),
			},
			Limits:       model.Limits{Connections: 100, Hosts: 1000, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour},
			Certificates: model.Certificates{Certificate: "/certs/gateway.crt", Key: "/certs/gateway.key", CA: "/certs/ca.crt", Roots: "/certs/roots.crt"},
			AccessLog:    "/dev/stdout",
		}
		g.Addresses.Allow = someRanges("10.9.0.0/16", "127.0.0.0/8").Draw(t, "allowed addresses")
		g.Addresses.Refuse = someRanges("10.9.9.0/24", "198.18.7.0/24").Draw(t, "refused addresses")
		g.Listeners = []syntax.Listener{
			{Listener: model.Listener{Name: "mtls", Address: netip.IPv4Unspecified(), Port: 15443, Protocol: model.MutualTLS}},
			{Listener: model.Listener{Name: "tls", Address: netip.IPv4Unspecified(), Port: 8443, Protocol: model.TLS, Sources: sources().Draw(t, "sources")}},
			{Listener: model.Listener{Name: "http", Address: netip.IPv4Unspecified(), Port: 15080, Protocol: model.HTTP}},
			{Listener: model.Listener{Name: "anyone", Address: netip.IPv4Unspecified(), Port: 8444, Protocol: model.TLS}},
		}
		return g
	})
}

func someRanges(from ...string) *rapid.Generator[[]netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) []netip.Prefix {
		var out []netip.Prefix
		for _, p := range from {
			if rapid.IntRange(0, 3).Draw(t, p) == 0 {
				out = append(out, netip.MustParsePrefix(p))
			}
		}
		return out
	})
}

// sources nest, as 10.0.0.0/8 and 10.1.2.3/32 do.
func sources() *rapid.Generator[[]model.Source] {
	return rapid.Custom(func(t *rapid.T) []model.Source {
		var out []model.Source
		for _, p := range []string{"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "172.16.0.0/12", "2001:db8:1::/48"} {
			if rapid.Bool().Draw(t, p) {
				out = append(out, model.Source{Prefix: netip.MustParsePrefix(p), Principal: rapid.SampledFrom(principals()[1:]).Draw(t, "principal")})
			}
		}
		return out
	})
}

func aPolicy(name string) *rapid.Generator[*syntax.EgressPolicy] {
	return rapid.Custom(func(t *rapid.T) *syntax.EgressPolicy {
		p := &syntax.EgressPolicy{
			Meta: syntax.Meta{
				Name:      name,
				Namespace: rapid.SampledFrom([]string{"", "", "a", "ab"}).Draw(t, "namespace"),
				Pos:       diag.Position{File: name + ".yaml", Line: 1, Column: 1},
			},
		}
		switch rapid.IntRange(0, 9).Draw(t, "fate") {
		case 0:
			p.Expires = now().Add(-time.Hour)
		case 1:
			p.Expires = now().Add(time.Hour)
		case 2:
			p.Mode = syntax.Audit
		}
		for i := range rapid.IntRange(1, 3).Draw(t, "rules") {
			r := rule(p.Namespace).Draw(t, "rule")
			if i > 0 && p.Namespace == "" && rapid.IntRange(0, 4).Draw(t, "part") == 0 {
				r.Action = p.Rules[0].Action
				r.From = append([]syntax.Peer{partMarked(0)}, via().Draw(t, "via")...)
			}
			p.Rules = append(p.Rules, r)
		}
		return p
	})
}

func rule(namespace string) *rapid.Generator[syntax.Rule] {
	return rapid.Custom(func(t *rapid.T) syntax.Rule {
		r := syntax.Rule{Action: rapid.SampledFrom([]model.Verdict{model.Allow, model.Allow, model.Deny}).Draw(t, "action")}
		r.From = from(namespace).Draw(t, "from")
		if rapid.IntRange(0, 19).Draw(t, "very many") == 0 && !marked(r.From, whereMark) {
			ns := namespace
			if ns == "" {
				ns = "a"
			}
			for i := range 70 {
				r.From = append(r.From, syntax.Peer{Principal: spiffeID(trustDomain, ns, manyAccount(i))})
			}
		}
		for range rapid.IntRange(1, 2).Draw(t, "to") {
			r.To = append(r.To, syntax.To{
				Hosts:  hosts(rapid.SliceOfN(pattern(), 1, 3).Draw(t, "hosts")),
				Except: hosts(rapid.SliceOfN(pattern(), 0, 2).Draw(t, "except")),
			})
		}
		return r
	})
}

// from draws whom a rule is for, and about which way of asking.
func from(namespace string) *rapid.Generator[[]syntax.Peer] {
	return rapid.Custom(func(t *rapid.T) []syntax.Peer {
		if namespace != "" {
			return rapid.SliceOfN(peer(namespace), 0, 3).Draw(t, "peers")
		}
		out := via().Draw(t, "via")
		if rapid.IntRange(0, 2).Draw(t, "where") == 0 {
			return append(out, whereMarked(aWho().Draw(t, "who")))
		}
		return append(out, rapid.SliceOfN(peer(namespace), 0, 3).Draw(t, "peers")...)
	})
}

// via draws a mark, or none.
func via() *rapid.Generator[[]syntax.Peer] {
	return rapid.Custom(func(t *rapid.T) []syntax.Peer {
		switch v := rapid.SampledFrom([]model.Via{0, 0, 0, model.ViaTLS, model.ViaHTTP}).Draw(t, "via"); v {
		case 0:
			return nil
		default:
			return []syntax.Peer{viaMarked(v)}
		}
	})
}

func hosts(patterns []hostname.Pattern) []syntax.Host {
	var out []syntax.Host
	for _, p := range patterns {
		out = append(out, syntax.Host{Pattern: p})
	}
	return out
}

// peer draws one that a policy of the namespace may name.
func peer(namespace string) *rapid.Generator[syntax.Peer] {
	return rapid.Custom(func(t *rapid.T) syntax.Peer {
		ns := namespace
		if ns == "" {
			ns = rapid.SampledFrom(namespaces()).Draw(t, "namespace")
		}
		sa := rapid.SampledFrom(serviceAccounts()).Draw(t, "service account")
		root := "spiffe://" + trustDomain + "/"
		all := []syntax.Peer{
			{Namespace: ns, ServiceAccount: sa},
			{Principal: spiffeID(trustDomain, ns, sa)},
			{Namespace: ns},
			{Principal: root + "ns/" + ns + "/sa/" + sa + "*"},
			{Principal: root + "ns/" + ns + "*"},
			{Principal: root + "*"},
			{Principal: "*"},
		}
		if namespace == "" {
			all = append(all,
				syntax.Peer{Principal: root + "other"}, syntax.Peer{Principal: spiffeID(otherDomain, ns, sa)}, syntax.Peer{Principal: "spiffe://td.tes*"})
		}
		return rapid.SampledFrom(all).Draw(t, "peer")
	})
}

func destination(name string) *rapid.Generator[*syntax.Destination] {
	return rapid.Custom(func(t *rapid.T) *syntax.Destination {
		d := &syntax.Destination{
			Meta: syntax.Meta{
				Name:      name,
				Namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"),
				Pos:       diag.Position{File: name + ".yaml", Line: 1, Column: 1},
			},
			Hosts:        hosts(rapid.SliceOfNDistinct(pattern(), 1, 2, rapid.ID).Draw(t, "hosts")),
			Port:         rapid.SampledFrom([]uint16{0, 443, 8443}).Draw(t, "port"),
			ExportTo:     rapid.SampledFrom([][]string{nil, {"*"}, {"."}, {"a"}, {"ab", "."}, {"b", "nobody"}, {toNobody}}).Draw(t, "exportTo"),
			AllowPrivate: rapid.IntRange(0, 3).Draw(t, "private") == 0,
		}
		d.Originate = rapid.SampledFrom([]*model.Originate{
			nil, nil, {}, {SubjectAltNames: []string{"common.server.test"}}, {Roots: "/certs/others.crt"},
		}).Draw(t, "originate")
		switch rapid.IntRange(0, 3).Draw(t, "resolve") {
		case 0:
			d.ResolveHost = "common.server.test"
		case 1:
			d.ResolveAddresses = []syntax.Address{{Addr: netip.MustParseAddr("9.9.9.9")}, {Addr: netip.MustParseAddr("2606:4700::1")}}
		}
		return d
	})
}

// compiled is the gateway of the documents.
func compiled(t require.TestingT, docs *syntax.Documents) *model.Gateway {
	m, diags := compile.Compile(docs, now())
	require.NoError(t, diags.Err())
	unmark(t, m.Gateways[0])
	return m.Gateways[0]
}
