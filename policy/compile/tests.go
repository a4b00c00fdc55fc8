package compile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// TestResult is the outcome of one test at one gateway.
type TestResult struct {
	Gateway string
	// Policy is the full name of the document that the test is in, an EgressPolicy
	// or a PolicyTest, Name the test's own, if it has one, and Position its place.
	Policy   string
	Name     string
	Position diag.Position
	// Request is what was asked.
	Request model.Request
	// Expect, ExpectReason and ExpectRule are what was expected. An empty reason
	// or rule leaves that open.
	Expect       model.Verdict
	ExpectReason model.Reason
	ExpectRule   string
	// Got and Reason are the answer, and Rule the rule that decided, if one did.
	Got    model.Verdict
	Reason model.Reason
	Rule   *model.Rule
	// Audit says that the test is of mode Audit: then the answer is the one that
	// would be given were the audit policies enforced, so that the test of an
	// audit policy stays true when the policy is.
	Audit bool
	// Lost is, if the test failed, an expired rule that may be why. Such a test
	// refuses no change.
	Lost *model.Rule
}

// Passed reports whether the answer is the expected one.
func (t TestResult) Passed() bool {
	return t.Got == t.Expect &&
		(t.ExpectReason == "" || t.Reason == t.ExpectReason) &&
		(t.ExpectRule == "" || t.Rule != nil && t.Rule.ID.String() == t.ExpectRule)
}

// Test compiles the documents as Compile does, except that failing tests refuse
// nothing, and says how each of them fares. If there is an error among the
// findings, there are no results.
func Test(docs *syntax.Documents, now time.Time) ([]TestResult, diag.List) {
	m, diags := Compile(untested(docs), now)
	if m == nil {
		return nil, diags
	}
	c := newCompiler(docs, now)
	c.checkTests()
	diags = append(diags, c.diags...)
	diags.Sort()
	if diags.HasErrors() {
		return nil, diags
	}
	results := RunTests(m, docs)
	c.findLost(m, results)
	return results, diags
}

// untested are the documents without their tests.
func untested(docs *syntax.Documents) *syntax.Documents {
	out := *docs
	out.Tests = nil
	out.Policies = make([]*syntax.EgressPolicy, len(docs.Policies))
	for i, p := range docs.Policies {
		without := *p
		without.Tests = nil
		out.Policies[i] = &without
	}
	return &out
}

// testSet are the tests of one document.
type testSet struct {
	meta  *syntax.Meta
	audit bool
	tests []syntax.Test
}

// testSets are the tests of the policies, and then those that stand alone.
func testSets(docs *syntax.Documents) []testSet {
	var out []testSet
	for _, p := range docs.Policies {
		out = append(out, testsOf(p))
	}
	for _, t := range docs.Tests {
		out = append(out, testsAlone(t))
	}
	return out
}

func testsOf(p *syntax.EgressPolicy) testSet {
	return testSet{&p.Meta, p.Mode != syntax.Enforce, p.Tests}
}

func testsAlone(t *syntax.PolicyTest) testSet {
	return testSet{&t.Meta, t.Mode != syntax.Enforce, t.Tests}
}

// RunTests runs all tests at every gateway that they are about, in the order
// of the gateways, then of the documents. Tests whose `from` does not select one
// workload are left out; Compile reports them.
func RunTests(m *model.Model, docs *syntax.Documents) []TestResult {
	var out []TestResult
	sets := testSets(docs)
	for _, g := range m.Gateways {
		for _, set := range sets {
			for _, t := range set.tests {
				if r, ok := tested(g, set, t); ok {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// tested runs a test at a gateway, if it is about that.
func tested(g *model.Gateway, set testSet, t syntax.Test) (TestResult, bool) {
	principal, err := testPrincipal(set.meta, t.From, g.TrustDomain)
	if err != nil || t.Gateway != "" && t.Gateway != g.Name || t.Via != model.WayTLS && !g.SpeaksHTTP() {
		return TestResult{}, false
	}
	return runTest(g, set, t, principal), true
}

func runTest(g *model.Gateway, set testSet, t syntax.Test, principal string) TestResult {
	r := TestResult{
		Gateway: g.Name, Policy: fullName(set.meta), Name: t.Name, Position: place(t.Pos, set.meta.Pos),
		Request: model.Request{Principal: principal, Way: t.Via, Host: t.Host, Port: t.Port},
		Expect:  t.Expect, ExpectReason: t.ExpectReason, ExpectRule: t.ExpectRule, Audit: set.audit,
	}
	d := g.Enforcing().Answer(r.Request) // a test says what the policy means
	r.Got, r.Reason, r.Rule = d.Verdict, d.Reason, d.Rule
	if r.Audit && d.AuditVerdict != d.Verdict {
		r.Got, r.Reason, r.Rule = d.AuditVerdict, d.AuditReason, d.AuditRule
	}
	return r
}

// testPrincipal is the one workload that a test is about, or the anonymous
// principal.
func testPrincipal(meta *syntax.Meta, peer syntax.Peer, trustDomain string) (string, error) {
	if peer.Principal == "" && peer.Namespace == "" && peer.ServiceAccount == "" {
		return "", nil
	}
	m, err := selected(&syntax.EgressPolicy{Meta: *meta}, peer, trustDomain)
	if err != nil {
		return "", err
	}
	if m.Kind != model.MatchExact {
		return "", fmt.Errorf("a test is about one workload, and %s may be several: set serviceAccount, or a principal without *", m)
	}
	return m.Value, nil
}

// checkTests reports tests that ask nobody about nobody.
func (c *compiler) checkTests() {
	if len(c.docs.Gateways) == 0 {
		return
	}
	for _, set := range testSets(&c.docs) {
		c.checkTestSet(set)
	}
}

func (c *compiler) checkTestSet(set testSet) {
	for _, t := range set.tests {
		if _, err := testPrincipal(set.meta, t.From, c.docs.Gateways[0].TrustDomain); err != nil {
			c.diags.Errorf(place(t.From.Pos, t.Pos, set.meta.Pos), "bad-test", "%v", err)
		}
		c.checkTestGateway(t, place(t.GatewayPos, t.Pos, set.meta.Pos))
	}
}

// checkTestGateway refuses a test that no gateway is asked: it would never fail.
func (c *compiler) checkTestGateway(t syntax.Test, pos diag.Position) {
	var names []string
	found := false
	for _, g := range c.docs.Gateways {
		names = append(names, g.Name)
		if t.Gateway != "" && t.Gateway != g.Name {
			continue
		}
		found = true
		if t.Via == model.WayTLS || speaksHTTP(g) {
			return
		}
	}
	switch {
	case !found:
		c.diags.Errorf(pos, "bad-test", "there is no EgressGateway %s: there is %s", t.Gateway, strings.Join(names, ", "))
	default:
		c.diags.Errorf(pos, "bad-test", "`via: %s` needs a listener of protocol HTTP, and no gateway that is asked has one", t.Via)
	}
}

// judgeTests refuses a change that a test forbids.
func (c *compiler) judgeTests(m *model.Model) {
	c.checkTests()
	results := RunTests(m, &c.docs)
	c.findLost(m, results)
	for _, t := range results {
		c.judgeTest(t)
	}
}

func (c *compiler) judgeTest(t TestResult) {
	switch {
	case t.Passed():
	case t.Lost != nil:
		c.diags.Warnf(t.Position, "test-expired", "%s: %s, at %s, which said so, has expired", t.failure(), t.Lost.ID, t.Lost.Origin)
	default:
		c.diags.Errorf(t.Position, "test-failed", "%s", t.failure())
	}
}

// findLost finds the expired rules that failing tests may have passed with. A
// test that fails because of the clock must not refuse the change: the last good
// policy, with the expired rule in it, would stay in force.
func (c *compiler) findLost(m *model.Model, results []TestResult) {
	expired := make(map[string][]*model.Rule)
	for i := range results {
		t := &results[i]
		if t.Passed() {
			continue
		}
		if _, ok := expired[t.Gateway]; !ok {
			g := slices.IndexFunc(c.docs.Gateways, func(g *syntax.EgressGateway) bool { return g.Name == t.Gateway })
			expired[t.Gateway] = c.rulesFor(c.docs.Gateways[g]).expired
		}
		t.findLost(expired[t.Gateway], m.FindGateway(t.Gateway))
	}
}

// findLost finds the first of the expired rules that the test may have passed
// with.
func (t *TestResult) findLost(expired []*model.Rule, g *model.Gateway) {
	if i := slices.IndexFunc(expired, func(r *model.Rule) bool { return t.mayHaveBeen(r, g) }); i >= 0 {
		t.Lost = expired[i]
	}
}

// mayHaveBeen reports whether the test may have passed while the expired rule
// was there: because the rule gave the verdict, or made the host known to which
// others allow access, or, if the verdict is right, because anything else about
// the host was different.
func (t TestResult) mayHaveBeen(r *model.Rule, g *model.Gateway) bool {
	if r.Audit && !t.Audit {
		return false
	}
	host := hostname.Exactly(t.Request.Host)
	named := slices.ContainsFunc(r.To, func(to model.To) bool {
		return slices.ContainsFunc(to.Hosts, func(p hostname.Pattern) bool { return p.Covers(host) })
	})
	switch {
	case !named:
		return false
	case t.Got == t.Expect:
		return true
	case t.Reason == model.NotRegistered && r.Registers && t.allowedOnceKnown(g):
		return true
	default:
		return r.Action == t.Expect && r.Matches(t.Request.Principal) && r.Covers(host)
	}
}

// allowedOnceKnown reports whether a rule allows a host that nothing makes
// known: Istio's rules do not.
func (t TestResult) allowedOnceKnown(g *model.Gateway) bool {
	var rules []*model.Rule
	for _, via := range []model.Via{model.ViaTLS, model.ViaHTTP} {
		d := g.DecideVia(via, t.Request.Principal, t.Request.Host)
		rules = append(rules, d.Audit...)
		if d.Entry != nil {
			rules = append(rules, d.Entry.Rules...)
		}
	}
	return slices.ContainsFunc(rules, func(r *model.Rule) bool {
		return r.Action == model.Allow && r.Matches(t.Request.Principal)
	})
}

// Question says in words what is asked, for example "spiffe://td/ns/a/sa/b →
// example.org:443 via CONNECT".
func (t TestResult) Question() string {
	who := t.Request.Principal
	if who == "" {
		who = "the anonymous principal"
	}
	if t.Request.Way == model.WayTLS {
		return fmt.Sprintf("%s → %s", who, t.Request.Host)
	}
	return fmt.Sprintf("%s → %s via %s", who, t.Request.Authority(), t.Request.Way)
}

// By says what decided: the rule and its place, or the reason in words.
func (t TestResult) By() string {
	if t.Rule != nil {
		return fmt.Sprintf("by rule %s at %s", t.Rule.ID, t.Rule.Origin)
	}
	return t.Reason.Explanation()
}

// Expected says what was expected, in words.
func (t TestResult) Expected() string {
	out := t.Expect.String()
	if t.ExpectReason != "" {
		out += " with reason " + string(t.ExpectReason)
	}
	if t.ExpectRule != "" {
		out += " by " + t.ExpectRule
	}
	return out
}

// failure says in a sentence what was expected and what decided otherwise.
func (t TestResult) failure() string {
	is := "is"
	if t.Audit {
		is = "would, with the audit policies enforced, be"
	}
	return fmt.Sprintf("test failed at gateway %s: %s %s %s (%s: %s), and %s was expected",
		t.Gateway, t.Question(), is, t.Got, t.Reason, t.By(), t.Expected())
}
