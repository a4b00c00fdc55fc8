package compile_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Each case is documents with one mistake, or something to be warned of, and
// the whole diagnostic that results.
func TestDiagnostics(t *testing.T) {
	for _, tc := range []struct {
		name  string
		docs  func(p *places) ([]any, diag.Position)
		want  string // severity and code
		words []string
	}{
		{"service account of another namespace", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.allow("sa:other/x", "a.org"))
			return []any{a}, a.Rules[0].From[0].Pos
		}, "error foreign-namespace", []string{"serviceAccount x of the namespace other is outside", "ns/a", "spiffe://td/ns/ns/*"}},
		{"another namespace", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.allow("sa:x ns:nsx", "a.org"))
			return []any{a}, a.Rules[0].From[1].Pos
		}, "error foreign-namespace", []string{"namespace nsx is outside"}},
		{"principal of another namespace", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.deny("spiffe://td/ns/other/*", "a.org"))
			return []any{a}, a.Rules[0].From[0].Pos
		}, "error foreign-namespace", []string{"spiffe://td/ns/other/* is outside"}},
		{"service account without namespace", func(p *places) ([]any, diag.Position) {
			a := p.policy("a", p.allow("sa:x", "a.org"))
			return []any{a}, a.Rules[0].From[0].Pos
		}, "error bad-peer", []string{"could be in any namespace"}},
		{"empty peer", func(p *places) ([]any, diag.Position) {
			a := p.policy("a", p.allow("ns:", "a.org"))
			return []any{a}, a.Rules[0].From[0].Pos
		}, "error bad-peer", []string{"selects nobody"}},
		{"same policy twice", func(p *places) ([]any, diag.Position) {
			a, b := p.policy("ns/a", p.allow("", "a.org")), p.policy("ns/a", p.allow("", "b.org"))
			return []any{b, a}, b.NamePos
		}, "error duplicate-name", []string{"EgressPolicy named ns/a at test.yaml:6:1"}},
		{"same gateway twice", func(p *places) ([]any, diag.Position) {
			g := p.gateway("egress")
			return []any{g}, g.NamePos
		}, "error duplicate-name", []string{"EgressGateway named egress at test.yaml:1:1"}},
		{"same host in two Destinations", func(p *places) ([]any, diag.Position) {
			z, a := p.destination("z", "*.a.org", "b.org"), p.destination("a", "b.org")
			return []any{a, z}, a.Hosts[0].Pos
		}, "error duplicate-destination", []string{"b.org is already a host of Destination z at test.yaml:6:1"}},
		{"export to the namespace that it has not", func(p *places) ([]any, diag.Position) {
			d := p.destination("d", "a.org")
			d.ExportTo = []string{"."}
			return []any{d}, d.ExportToPos
		}, "error missing-namespace", []string{"metadata.namespace"}},
		{"private static address", func(p *places) ([]any, diag.Position) {
			return address(p, "10.1.2.3", false)
		}, "error refused-address", []string{"gateway egress does not dial 10.1.2.3: it is in 10.0.0.0/8 (private network, RFC 1918 §3)", "privateAddresses: Allow"}},
		{"loopback static address", func(p *places) ([]any, diag.Position) {
			return address(p, "127.0.0.1", true)
		}, "error refused-address", []string{"127.0.0.0/8", "allowed addresses"}},
		{"metadata static address", func(p *places) ([]any, diag.Position) {
			return address(p, "fd00:ec2::254", true)
		}, "error refused-address", []string{"add exactly fd00:ec2::254/128"}},
		{"mapped static address", func(p *places) ([]any, diag.Position) {
			return address(p, "::ffff:8.8.8.8", true)
		}, "error refused-address", []string{"IPv4-mapped"}},
		{"public suffix in an Allow rule", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.allow("sa:x", "a.org", "*.co.uk"))
			return []any{a}, a.Rules[0].To[0].Hosts[1].Pos
		}, "warning public-suffix", []string{"*.co.uk covers hosts of unrelated owners"}},
		{"public suffix in a Destination", func(p *places) ([]any, diag.Position) {
			d := p.destination("d", "*.com")
			return []any{d}, d.Hosts[0].Pos
		}, "warning public-suffix", []string{"*.com"}},
		{"some workloads to anywhere", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.allow("sa:x", "*"))
			return []any{a}, a.Rules[0].To[0].Hosts[0].Pos
		}, "warning public-suffix", []string{"* covers"}},
		{"everyone to anywhere", func(p *places) ([]any, diag.Position) {
			a := p.policy("a", p.allow("", "*"))
			return []any{a}, a.Rules[0].To[0].Hosts[0].Pos
		}, "warning allows-everything", []string{"allows everyone every host"}},
		{"a namespace to anywhere", func(p *places) ([]any, diag.Position) {
			a := p.policy("ns/a", p.allow("", "*"))
			return []any{a}, a.Rules[0].To[0].Hosts[0].Pos
		}, "warning allows-everything", []string{"every workload of the namespace ns"}},
		{"host that is excepted", func(p *places) ([]any, diag.Position) {
			a := p.policy("a", p.allow("", "b.a.org", "c.org", "!*.a.org"))
			return []any{a}, a.Rules[0].To[0].Hosts[0].Pos
		}, "warning host-excepted", []string{"b.a.org has no effect", "*.a.org"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p places
			gateway := p.gateway("egress")
			docs, at := tc.docs(&p)
			m, diags := compile.Compile(documents(append(docs, gateway)...), now)
			require.Equal(t, []string{tc.want}, codes(diags))
			require.Equal(t, at, diags[0].Pos)
			for _, w := range tc.words {
				require.Contains(t, diags[0].Message, w)
			}
			require.Equal(t, diags.HasErrors(), m == nil)
		})
	}
}

func address(p *places, addr string, allowPrivate bool) ([]any, diag.Position) {
	d := p.destination("d", "a.org")
	d.AllowPrivate = allowPrivate
	d.ResolveAddresses = []syntax.Address{
		{Addr: netip.MustParseAddr("9.9.9.9"), Pos: p.next()},
		{Addr: netip.MustParseAddr(addr), Pos: p.next()},
	}
	return []any{d}, d.ResolveAddresses[1].Pos
}

func TestNothingToWarnOf(t *testing.T) {
	var p places
	d := p.destination("ns/d", "a.org", "*.b.org", "a.org")
	d.ExportTo, d.AllowPrivate = []string{"."}, true
	d.ResolveAddresses = []syntax.Address{{Addr: netip.MustParseAddr("10.0.0.1")}, {Addr: netip.MustParseAddr("127.0.0.1")}}
	gateway := p.gateway("egress")
	gateway.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	denied := p.policy("z", p.deny("", "*", "*.com"))
	_, diags := compile.Compile(documents(gateway, d, denied, p.policy("ns/a", p.allow("", "*.a.org", "!b.a.org"))), now)
	require.Empty(t, diags)
}

func TestAddressRangesOfTheGateway(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	gateway.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("::/0")}
	_, diags := compile.Compile(documents(gateway), now)
	require.Equal(t, []string{"error mapped-addresses"}, codes(diags))

	gateway.Addresses = model.Addresses{Refuse: []netip.Prefix{netip.MustParsePrefix("9.0.0.0/8")}}
	docs, _ := address(&p, "8.8.8.8", false)
	_, diags = compile.Compile(documents(append(docs, gateway)...), now)
	require.Equal(t, []string{"error refused-address"}, codes(diags))
	require.Contains(t, diags[0].Message, "9.9.9.9: it is in 9.0.0.0/8 (refused range, the gateway's own list); remove the address here")
}

// All errors of all documents come in one run, in the order of their places.
func TestAllErrorsAtOnce(t *testing.T) {
	var p places
	_, diags := compile.Compile(documents(
		p.gateway("egress"),
		p.policy("ns/z", p.allow("sa:other/x", "a.org"), p.allow("sa:", "a.org")),
		p.destination("d", "a.org"),
		p.destination("e", "a.org"),
		p.policy("a", p.allow("", "*")),
		p.gateway("egress"),
	), now)
	require.Equal(t, []string{
		"error foreign-namespace", "error bad-peer", "error duplicate-destination", "warning allows-everything", "error duplicate-name",
	}, codes(diags))
}

func TestPolicyTests(t *testing.T) {
	var p places
	a := p.policy("ns/a", p.allow("sa:x", "*.a.org"), p.deny("", "secret.a.org"))
	right := []syntax.Test{
		p.test("sa:x", "b.a.org", model.Allow),
		p.test("spiffe://td/ns/ns/sa/x", "b.a.org", model.Allow),
		p.test("sa:other/x", "b.a.org", model.Deny),
		p.test("sa:x", "secret.a.org", model.Deny),
		p.test("sa:x", "unknown.org", model.Deny),
		p.test("", "b.a.org", model.Deny),
	}
	docs := func() *syntax.Documents { return documents(p.gateway("egress"), p.gateway("second"), a) }

	a.Tests = right
	m, diags := compile.Compile(docs(), now)
	require.Empty(t, diags)
	results := compile.RunTests(m, docs())
	require.Len(t, results, 2*len(right))
	for _, r := range results {
		require.True(t, r.Passed())
	}
	require.Equal(t, "second", results[len(right)].Gateway)
	require.Equal(t, "ns/a", results[0].Policy)

	wrong := []syntax.Test{
		p.test("sa:x", "secret.a.org", model.Allow),
		p.test("sa:x", "b.a.org", model.Deny),
		p.test("", "unknown.org", model.Allow),
	}
	a.Tests = slices.Concat(right, wrong)
	m, diags = compile.Compile(docs(), now)
	require.Nil(t, m)
	require.Len(t, diags, 2*len(wrong))
	for i, want := range []string{
		"test failed at gateway egress: spiffe://td/ns/ns/sa/x → secret.a.org is Deny (deny-rule: by rule ns[ns]-policy[a]-rule[1] at " + a.Rules[1].Pos.String() + "), and Allow was expected",
		"test failed at gateway egress: spiffe://td/ns/ns/sa/x → b.a.org is Allow (allow-rule: by rule ns[ns]-policy[a]-rule[0] at " + a.Rules[0].Pos.String() + "), and Deny was expected",
		"test failed at gateway egress: the anonymous principal → unknown.org is Deny (host-not-registered: no Destination and no Allow rule knows the host), and Allow was expected",
	} {
		require.Equal(t, diag.Diagnostic{Pos: wrong[i].Pos, Code: "test-failed", Message: want}, diags[2*i])
		require.Contains(t, diags[2*i+1].Message, "at gateway second")
	}
}

func TestBadTests(t *testing.T) {
	for _, tc := range []struct{ policy, from, words string }{
		{"a", "sa:x", "could be in any namespace"},
		{"ns/a", "ns:ns", "a test is about one workload, and spiffe://td/ns/ns/* may be several"},
		{"ns/a", "spiffe://td/ns/ns/*", "may be several"},
	} {
		t.Run(tc.from, func(t *testing.T) {
			var p places
			a := p.policy(tc.policy, p.allow("", "a.org"))
			a.Tests = []syntax.Test{p.test(tc.from, "a.org", model.Allow)}
			_, diags := compile.Compile(documents(p.gateway("egress"), a), now)
			require.Equal(t, []string{"error bad-test"}, codes(diags))
			require.Equal(t, a.Tests[0].From.Pos, diags[0].Pos)
			require.Contains(t, diags[0].Message, tc.words)
		})
	}
}

// A policy in mode Audit is tested as it would be when enforced.
func TestTestsOfAuditPolicies(t *testing.T) {
	var p places
	a := p.policy("ns/a", p.deny("sa:x", "a.org"))
	a.Mode = syntax.Audit
	a.Tests = []syntax.Test{p.test("sa:x", "a.org", model.Deny), p.test("sa:y", "a.org", model.Allow)}
	enforced := p.policy("ns/b", p.allow("", "a.org"))
	enforced.Tests = []syntax.Test{p.test("sa:x", "a.org", model.Allow)}
	docs := documents(p.gateway("egress"), a, enforced)
	_, diags := compile.Compile(docs, now)
	require.Empty(t, diags)

	a.Tests[0].Expect = model.Allow
	_, diags = compile.Compile(docs, now)
	require.Equal(t, []string{"error test-failed"}, codes(diags))
	require.Contains(t, diags[0].Message, "would, with the audit policies enforced, be Deny (deny-rule: by rule ns[ns]-policy[a]-rule[0]")
}

// A test that only fails because time went by must not keep the last good
// policy, and with it the expired grant, in force.
func TestExpiryDoesNotFailTests(t *testing.T) {
	var p places
	a, other := p.policy("ns/a", p.allow("sa:x", "a.org")), p.policy("other", p.deny("", "b.org"))
	a.Expires = now.Add(time.Hour)
	a.Tests = []syntax.Test{p.test("sa:x", "a.org", model.Allow)}
	other.Tests = []syntax.Test{p.test("sa:ns/x", "a.org", model.Allow)}
	docs := documents(p.gateway("egress"), a, other)

	m, diags := compile.Compile(docs, now)
	require.NoError(t, diags.Err())
	require.Equal(t, model.Allow, m.Gateways[0].Decide("spiffe://td/ns/ns/sa/x", "a.org").Verdict)

	m, diags = compile.Compile(docs, now.Add(time.Hour))
	require.NoError(t, diags.Err())
	require.ElementsMatch(t, []string{"warning expired", "warning test-expired", "warning test-expired"}, codes(diags))
	require.Equal(t, model.Deny, m.Gateways[0].Decide("spiffe://td/ns/ns/sa/x", "a.org").Verdict)

	// A test that never held still fails.
	other.Tests = append(other.Tests, p.test("sa:ns/y", "a.org", model.Allow))
	_, diags = compile.Compile(docs, now.Add(time.Hour))
	require.ErrorContains(t, diags.Err(), "spiffe://td/ns/ns/sa/y → a.org is Deny")
}

// Check leaves out what only the missing documents could make wrong.
func TestCheck(t *testing.T) {
	var p places
	elsewhere := p.policy("ns/a", p.allow("spiffe://other/ns/ns/sa/x", "a.org"))
	elsewhere.Tests = []syntax.Test{p.test("sa:x", "a.org", model.Allow)}
	destination, same := p.destination("d", "a.org"), p.destination("e", "a.org")
	require.Equal(t, []string{"error duplicate-destination"}, codes(compile.Check(documents(elsewhere, destination, same), now)))
	require.Equal(t, []string{"error duplicate-destination"}, codes(compile.Check(documents(elsewhere, destination, same, p.gateway("egress")), now)))

	gateway := p.gateway("open")
	gateway.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("::/0")}
	require.Equal(t, []string{"error mapped-addresses"}, codes(compile.Check(documents(gateway, elsewhere), now)))
}
