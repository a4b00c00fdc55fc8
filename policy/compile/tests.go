package compile

import (
	"fmt"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// TestResult is the outcome of one test of a policy at one gateway.
type TestResult struct {
	Gateway string
	// Policy is the policy's namespace/name, and Position the test's place.
	Policy    string
	Position  diag.Position
	Principal string
	Host      hostname.Name
	Expect    model.Verdict
	Got       model.Verdict
	// Decision says how the verdict came about.
	Decision model.Decision
	// Audit says that the test is of a policy in mode Audit: then Got is the
	// verdict as it would be were the audit policies enforced, so that the test
	// stays true when the policy is.
	Audit bool
}

// Passed reports whether the verdict is the expected one.
func (t TestResult) Passed() bool { return t.Got == t.Expect }

// RunTests runs the tests of all policies at every gateway, in the order of
// the gateways, then of the policies in docs. Tests whose `from` does not select
// one workload are left out; Compile reports them.
func RunTests(m *model.Model, docs *syntax.Documents) []TestResult {
	var out []TestResult
	for _, g := range m.Gateways {
		for _, p := range docs.Policies {
			for _, t := range p.Tests {
				principal, err := testPrincipal(p, t.From, g.TrustDomain)
				if err != nil {
					continue
				}
				r := TestResult{
					Gateway: g.Name, Policy: fullName(&p.Meta), Position: place(t.Pos, p.Pos),
					Principal: principal, Host: t.Host, Expect: t.Expect,
					Decision: g.Decide(principal, t.Host), Audit: p.Mode != syntax.Enforce,
				}
				r.Got = r.Decision.Verdict
				if r.Audit {
					r.Got = r.Decision.AuditVerdict
				}
				out = append(out, r)
			}
		}
	}
	return out
}

// testPrincipal is the one workload that a test is about, or the anonymous
// principal.
func testPrincipal(p *syntax.EgressPolicy, peer syntax.Peer, trustDomain string) (string, error) {
	if peer.Principal == "" && peer.Namespace == "" && peer.ServiceAccount == "" {
		return "", nil
	}
	m, err := selected(p, peer, trustDomain)
	if err != nil {
		return "", err
	}
	if m.Kind != model.MatchExact {
		return "", fmt.Errorf("a test is about one workload, and %s may be several: set serviceAccount, or a principal without *", m)
	}
	return m.Value, nil
}

// judgeTests refuses a change that a test forbids.
func (c *compiler) judgeTests(m *model.Model) {
	if len(m.Gateways) == 0 {
		return
	}
	for _, p := range c.docs.Policies {
		for _, t := range p.Tests {
			if _, err := testPrincipal(p, t.From, m.Gateways[0].TrustDomain); err != nil {
				c.diags.Errorf(place(t.From.Pos, t.Pos, p.Pos), "bad-test", "%v", err)
			}
		}
	}
	expired := make(map[string]*ruleSet)
	for _, t := range RunTests(m, &c.docs) {
		if t.Passed() {
			continue
		}
		if expired[t.Gateway] == nil {
			i := slices.IndexFunc(c.docs.Gateways, func(g *syntax.EgressGateway) bool { return g.Name == t.Gateway })
			set := c.rulesFor(c.docs.Gateways[i])
			expired[t.Gateway] = &set
		}
		if r := t.lostRule(expired[t.Gateway].expired); r != nil {
			c.diags.Warnf(t.Position, "test-expired", "%s: %s, at %s, which said so, has expired", t.failure(), r.ID, r.Origin)
			continue
		}
		c.diags.Errorf(t.Position, "test-failed", "%s", t.failure())
	}
}

// lostRule returns an expired rule that gave the expected verdict. A test that
// fails because of the clock must not refuse the change: the last good policy,
// with the expired rule in it, would stay in force.
func (t TestResult) lostRule(expired []*model.Rule) *model.Rule {
	for _, r := range expired {
		if r.Action == t.Expect && (t.Audit || !r.Audit) && r.Matches(t.Principal) && r.Covers(hostname.Exactly(t.Host)) {
			return r
		}
	}
	return nil
}

// failure says in a sentence what was expected and what decided otherwise.
func (t TestResult) failure() string {
	who := t.Principal
	if who == "" {
		who = "the anonymous principal"
	}
	reason, rule := t.Decision.Reason, t.Decision.Rule
	is := "is"
	if t.Audit {
		is = "would, with the audit policies enforced, be"
		if t.Decision.AuditVerdict != t.Decision.Verdict {
			reason, rule = t.Decision.AuditReason, t.Decision.AuditRule
		}
	}
	by := reason.Explanation()
	if rule != nil {
		by = fmt.Sprintf("by rule %s at %s", rule.ID, rule.Origin)
	}
	return fmt.Sprintf("test failed at gateway %s: %s → %s %s %s (%s: %s), and %s was expected",
		t.Gateway, who, t.Host, is, t.Got, reason, by, t.Expect)
}
