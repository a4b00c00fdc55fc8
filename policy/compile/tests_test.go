package compile_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

func (p *places) policyTest(fullName string, tests ...syntax.Test) *syntax.PolicyTest {
	return &syntax.PolicyTest{Meta: p.meta(fullName), Tests: tests}
}

// withHTTP is a gateway that takes HTTP requests.
func (p *places) withHTTP(name string) *syntax.EgressGateway {
	g := p.gateway(name)
	g.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "proxy", Protocol: model.HTTP}}}
	return g
}

func withTests(docs *syntax.Documents, tests ...*syntax.PolicyTest) *syntax.Documents {
	docs.Tests = tests
	return docs
}

// Tests that stand alone refuse a change as those of a policy do.
func TestPolicyTestDocuments(t *testing.T) {
	var p places
	a := p.policy("ns/a", p.allow("sa:x", "*.a.org"), p.deny("", "secret.a.org"))
	alone := p.policyTest("ns/alone",
		p.test("sa:x", "b.a.org", model.Allow), // its own namespace's service account
		p.test("sa:x", "secret.a.org", model.Allow),
	)
	docs := withTests(documents(p.gateway("egress"), a), alone)
	m, diags := compile.Compile(docs, now)
	require.Nil(t, m)
	require.Equal(t, []string{"error test-failed"}, codes(diags))
	require.Equal(t, alone.Tests[1].Pos, diags[0].Pos)

	results, diags := compile.Test(docs, now)
	require.Empty(t, diags)
	require.Len(t, results, 2)
	require.Equal(t, "ns/alone", results[0].Policy)
	require.True(t, results[0].Passed())
	require.False(t, results[1].Passed())
	require.Equal(t, model.DenyRule, results[1].Reason)
	require.Equal(t, 1, results[1].Rule.ID.Index)
	require.Nil(t, results[1].Lost)

	// They may ask for what the audit policies would do.
	a.Mode, alone.Tests = syntax.Audit, alone.Tests[:1]
	_, diags = compile.Compile(docs, now)
	require.Equal(t, []string{"error test-failed"}, codes(diags))
	alone.Mode = syntax.Audit
	_, diags = compile.Compile(docs, now)
	require.Empty(t, diags)
}

func TestExpectations(t *testing.T) {
	var p places
	a := p.policy("ns/a", p.allow("sa:x", "*.a.org"), p.deny("", "secret.a.org"))
	for _, tc := range []struct {
		host   string
		expect model.Verdict
		reason model.Reason
		rule   string
		passes bool
	}{
		{"b.a.org", model.Allow, model.AllowRule, "", true},
		{"b.a.org", model.Allow, model.DefaultAction, "", false},
		{"b.a.org", model.Allow, "", "ns[ns]-policy[a]-rule[0]", true},
		{"b.a.org", model.Allow, "", "ns[ns]-policy[a]-rule[1]", false},
		{"secret.a.org", model.Deny, model.DenyRule, "ns[ns]-policy[a]-rule[1]", true},
		{"secret.a.org", model.Deny, model.NoAllowRule, "", false},
		{"c.org", model.Deny, model.NotRegistered, "", true},
		{"c.org", model.Deny, "", "ns[ns]-policy[a]-rule[1]", false},
	} {
		test := p.test("sa:ns/x", tc.host, tc.expect)
		test.ExpectReason, test.ExpectRule = tc.reason, tc.rule
		results, diags := compile.Test(withTests(documents(p.gateway("egress"), a), p.policyTest("t", test)), now)
		require.Empty(t, diags)
		require.Len(t, results, 1)
		require.Equal(t, tc.passes, results[0].Passed(), "%+v", tc)
	}
}

// A test is asked at the gateway that it names, and only where workloads can ask
// as it does.
func TestGatewaysOfTests(t *testing.T) {
	var p places
	a := p.policy("a", p.allow("sa:ns/x", "a.org"))
	one := p.test("sa:ns/x", "a.org", model.Allow)
	one.Gateway = "second"
	connect := p.test("sa:ns/x", "a.org", model.Allow)
	connect.Via = model.WayConnect
	port := p.test("sa:ns/x", "a.org", model.Deny)
	port.Via, port.Port, port.ExpectReason = model.WayConnect, 8080, model.PortNotAllowed
	plain := p.test("sa:ns/x", "a.org", model.Deny)
	plain.Via, plain.ExpectReason = model.WayHTTP, model.NotOriginated
	tests := p.policyTest("t", one, connect, port, plain)
	docs := withTests(documents(p.gateway("egress"), p.gateway("second"), p.withHTTP("third"), a), tests)
	results, diags := compile.Test(docs, now)
	require.Empty(t, diags)
	var at []string
	for _, r := range results {
		require.True(t, r.Passed(), "%+v", r)
		at = append(at, r.Gateway+": "+r.Question())
	}
	require.Equal(t, []string{
		"second: spiffe://td/ns/ns/sa/x → a.org",
		"third: spiffe://td/ns/ns/sa/x → a.org:443 via CONNECT",
		"third: spiffe://td/ns/ns/sa/x → a.org:8080 via CONNECT",
		"third: spiffe://td/ns/ns/sa/x → a.org via HTTP",
	}, at)

	// Tests that nobody is asked would never fail.
	tests.Tests[0].Gateway = "forth"
	tests.Tests[1].Gateway = "egress"
	_, diags = compile.Compile(docs, now)
	require.Equal(t, []string{"error bad-test", "error bad-test"}, codes(diags))
	require.Contains(t, diags[0].Message, "there is no EgressGateway forth: there is egress, second, third")
	require.Contains(t, diags[1].Message, "`via: CONNECT` needs a listener of protocol HTTP")
	results, again := compile.Test(docs, now)
	require.Nil(t, results)
	require.Equal(t, diags, again)
}

// Time alone never makes an error of tests that hold, whatever they expect of
// the way in which the answer comes about.
func TestTimeAloneFailsNoTest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		gateway := docs.Gateways[0]
		gateway.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "proxy", Protocol: model.HTTP}}}
		m, diags := compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		var p places
		enforced, audited := p.policyTest("enforced"), p.policyTest("audited")
		audited.Mode = syntax.Audit
		for _, host := range rapid.SliceOfN(genHost, 1, 5).Draw(t, "names") {
			for _, principal := range principals {
				test := p.test(principal, host, model.Deny)
				test.Via = rapid.SampledFrom(model.Ways()).Draw(t, "via")
				d := m.Gateways[0].Answer(model.Request{Principal: principal, Way: test.Via, Host: hostname.Name(host)})
				expecting(&test, d.Verdict, d.Reason, d.Rule)
				enforced.Tests = append(enforced.Tests, test)
				if d.AuditVerdict != d.Verdict {
					expecting(&test, d.AuditVerdict, d.AuditReason, d.AuditRule)
				}
				audited.Tests = append(audited.Tests, test)
			}
		}
		docs.Tests = []*syntax.PolicyTest{enforced, audited}
		_, diags = compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		_, diags = compile.Compile(docs, now.Add(time.Hour))
		require.NoError(t, diags.Err())
	})
}

func expecting(test *syntax.Test, verdict model.Verdict, reason model.Reason, rule *model.Rule) {
	test.Expect, test.ExpectReason, test.ExpectRule = verdict, reason, ""
	if rule != nil {
		test.ExpectRule = rule.ID.String()
	}
}
