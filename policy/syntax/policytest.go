package syntax

import (
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// PolicyTest is questions with their right answers that belong to no
// EgressPolicy: they can be about Istio's documents, and be kept apart from the
// policies that they are about.
type PolicyTest struct {
	Meta
	// Mode Audit asks for the answers as they would be were the audit policies
	// enforced.
	Mode  Mode
	Tests []Test
}

// Test is an expectation that a change must fulfil to be published.
type Test struct {
	// Name is for people; empty is none.
	Name string
	// Gateway is the group that is asked; empty means each of them.
	Gateway    string
	GatewayPos diag.Position
	// From selects one workload: a Principal without *, or a ServiceAccount.
	// The zero Peer is the anonymous principal.
	From Peer
	Host hostname.Name
	Via  model.Way
	// Port is the one that an HTTP request names; zero is none.
	Port   uint16
	Expect model.Verdict
	// ExpectReason and ExpectRule are how the answer must come about. Empty ones
	// leave that open.
	ExpectReason model.Reason
	ExpectRule   string // as model.RuleID.String
	Pos          diag.Position
}

// policyTest is the table of PolicyTest.
func policyTest() object[PolicyTest] {
	modes := []choice[Mode]{
		{word: "Enforce", doc: "the answers that the gateways give", v: Enforce},
		{word: "Audit", doc: "the answers as they would be if the policies in mode Audit were enforced", v: Audit},
	}
	spec := object[PolicyTest]{
		what: "the spec of a PolicyTest",
		fields: []field[PolicyTest]{
			bind("mode", "Which answers are looked at."+choicesDoc(modes), oneOf("the mode", modes...),
				func(t *PolicyTest, m Mode, _ *node) { t.Mode = m }).or("Enforce"),
			bind("tests", "Questions with their right answers. They are asked at every load, and a wrong answer refuses the change.",
				listOf[Test]{element: test().value(), least: 1}.value(),
				func(t *PolicyTest, tests []Test, _ *node) { t.Tests = tests }).must(),
		},
	}
	o := documentOf("PolicyTest",
		"A PolicyTest is questions about the policies, with their right answers. Service accounts without a namespace are of its own.",
		true, func(t *PolicyTest) *Meta { return &t.Meta }, spec)
	o.check = func(r *reader, _ *node, t *PolicyTest) bool {
		good := true
		for _, test := range t.Tests {
			if t.Namespace == "" && test.From.ServiceAccount != "" && test.From.Namespace == "" {
				r.diags.Errorf(test.From.Pos, "missing-field", "the service account %s is in no namespace: "+
					"this PolicyTest has none, so add `namespace` beside it", test.From.ServiceAccount)
				good = false
			}
		}
		return good
	}
	return o
}

// test is an element of the tests of a policy, and of a PolicyTest.
func test() object[Test] {
	answers := verdicts("it must be allowed", "it must be refused")
	ways := []choice[model.Way]{
		{word: "TLS", doc: "TLS of the workload's own", v: model.WayTLS},
		{word: "CONNECT", doc: "an HTTP CONNECT, and TLS for the same host inside the tunnel; both must be allowed", v: model.WayConnect},
		{word: "HTTP", doc: "a plain HTTP request, which the gateway sends on over TLS", v: model.WayHTTP},
	}
	rules, check := onlyOne("the workload of a test", false)
	from := object[Peer]{what: "the workload of a test", fields: peerFields(spiffeID()), rules: rules, check: check}
	return object[Test]{
		what: "a test",
		fields: []field[Test]{
			bind("name", "What the test is about, for people.", sentence("the name"), func(t *Test, s string, _ *node) { t.Name = s }),
			bind("gateway", "The EgressGateway that is asked. Without it: each of them.", objectName("the name of an EgressGateway"),
				func(t *Test, s string, n *node) { t.Gateway, t.GatewayPos = s, n.pos }),
			bind("from", "The one workload that asks. Without it: one that is not known.", from.value(), func(t *Test, p Peer, _ *node) { t.From = p }),
			bind("host", "The host name it asks for.", hostName(), func(t *Test, h hostname.Name, _ *node) { t.Host = h }).must(),
			bind("via", "How it asks. CONNECT and HTTP are for gateways that have a listener of protocol HTTP."+choicesDoc(ways), oneOf("via", ways...),
				func(t *Test, w model.Way, _ *node) { t.Via = w }).or("TLS"),
			bind("port", "The port that the HTTP request names, for via: CONNECT (443 if absent) and HTTP (none if absent).", port("the port"),
				func(t *Test, p uint16, _ *node) { t.Port = p }),
			bind("expect", "The right answer."+choicesDoc(answers), oneOf("the expected answer", answers...),
				func(t *Test, v model.Verdict, _ *node) { t.Expect = v }).must(),
			bind("expectReason", "The right reason, if it matters, as explain and the logs show it.", reason(),
				func(t *Test, s model.Reason, _ *node) { t.ExpectReason = s }),
			bind("expectRule", "The rule that must decide, if it matters, as explain and the logs show it, for example ns[default]-policy[wikipedia]-rule[0].", ruleName(),
				func(t *Test, s string, _ *node) { t.ExpectRule = s }),
		},
		check: checkTest,
	}
}

// allowing are the reasons of an Allow.
func allowing() []model.Reason { return []model.Reason{model.AllowRule, model.DefaultAction} }

// reason is the reason of an answer about a host that has a name.
func reason() value[model.Reason] {
	var choices []choice[model.Reason]
	for _, r := range []model.Reason{
		model.AllowRule, model.DenyRule, model.NoAllowRule, model.DefaultAction, model.NotRegistered, model.NotExported,
		model.PortNotAllowed, model.NotOriginated,
	} {
		choices = append(choices, choice[model.Reason]{word: string(r), v: r})
	}
	return oneOf("the expected reason", choices...)
}

// ruleName is the name of a rule in logs.
func ruleName() value[string] {
	return word("the name of a rule", jsonSchema{"pattern": `^ns\[[^\[\]]*\]-policy\[[^\[\]]+\]-rule\[(0|[1-9][0-9]{0,8})\]$`}, func(s string) (string, error) {
		_, err := model.ParseRuleID(s)
		return s, err
	})
}

// checkTest refuses tests that no policy can pass, and ports that nobody sees.
func checkTest(r *reader, n *node, t *Test) bool {
	t.Pos = n.pos
	isAllow := slices.Contains(allowing(), t.ExpectReason)
	switch {
	case t.Port != 0 && t.Via == model.WayTLS:
		r.errorf(n.get("port"), "exclusive-fields", "with TLS the gateway does not learn of a port: add `via: CONNECT` or `via: HTTP`, or remove the port")
	case t.ExpectReason == "":
		return checkExpectRule(r, n, t)
	case t.Expect == model.Allow && !isAllow, t.Expect == model.Deny && t.ExpectReason == model.AllowRule:
		r.errorf(n.get("expectReason"), "bad-test", "the reason %s is never one of %s: the test could not pass", t.ExpectReason, t.Expect)
	default:
		return checkExpectRule(r, n, t)
	}
	return false
}

func checkExpectRule(r *reader, n *node, t *Test) bool {
	if t.ExpectRule != "" && t.ExpectReason != "" && t.ExpectReason != model.AllowRule && t.ExpectReason != model.DenyRule {
		r.errorf(n.get("expectRule"), "bad-test", "for the reason %s there is no rule: the test could not pass", t.ExpectReason)
		return false
	}
	return true
}
