package syntax

import (
	"slices"
	"time"

	"sallyport/policy/model"
)

// egressPolicy is the table of EgressPolicy.
func egressPolicy() object[EgressPolicy] {
	modes := []choice[Mode]{
		{word: "Enforce", doc: "the rules decide", v: Enforce},
		{word: "Audit", doc: "the rules are evaluated and logged, and decide nothing", v: Audit},
	}
	spec := object[EgressPolicy]{
		what: "the spec of an EgressPolicy",
		fields: []field[EgressPolicy]{
			bind("owner", "Whom to ask about this policy, for example a team's address. It is shown with every decision.", sentence("the owner"),
				func(p *EgressPolicy, s string, _ *node) { p.Owner = s }),
			bind("reason", "Why this policy is there. It is shown with every decision.", sentence("the reason"),
				func(p *EgressPolicy, s string, _ *node) { p.Reason = s }),
			bind("expires", "When the rules end, for example 2027-03-31T00:00:00Z. Afterwards they are gone; validate warns beforehand.", moment("the end"),
				func(p *EgressPolicy, t time.Time, n *node) { p.Expires, p.ExpiresPos = t, n.pos }),
			bind("mode", "Whether the rules are enforced."+choicesDoc(modes), oneOf("the mode", modes...),
				func(p *EgressPolicy, m Mode, _ *node) { p.Mode = m }).or("Enforce"),
			bind("rules", "Who may, or must not, reach which hosts. A Deny rule that matches wins over every Allow rule.",
				listOf[Rule]{element: rule().value(), least: 1}.value(),
				func(p *EgressPolicy, rules []Rule, _ *node) { p.Rules = rules }).must(),
			bind("tests", "Questions with their right answers. They are asked at every load, and a wrong answer refuses the change.",
				listOf[Test]{element: test().value()}.value(),
				func(p *EgressPolicy, tests []Test, _ *node) { p.Tests = tests }),
		},
	}
	o := documentOf("EgressPolicy",
		"An EgressPolicy says which workloads may, or must not, reach which external hosts. In a namespace, it speaks for that namespace's workloads only.",
		true, func(p *EgressPolicy) *Meta { return &p.Meta }, spec)
	o.check = checkNamespaces
	return o
}

func rule() object[Rule] {
	actions := verdicts("matching workloads may reach the hosts", "matching workloads must not, whatever other rules say")
	return object[Rule]{
		what: "a rule",
		fields: []field[Rule]{
			bind("action", "What the rule does."+choicesDoc(actions), oneOf("the action", actions...),
				func(r *Rule, v model.Verdict, _ *node) { r.Action = v }).must(),
			bind("from", "The workloads that the rule is about. Without it: every workload that the policy speaks for, and in a policy without a namespace also who is not known.",
				listOf[Peer]{element: peer(), least: 1}.value(),
				func(r *Rule, peers []Peer, _ *node) { r.From = peers }),
			bind("to", "The hosts that the rule is about.",
				listOf[To]{element: to().value(), least: 1}.value(),
				func(r *Rule, to []To, _ *node) { r.To = to }).must(),
		},
		check: func(_ *reader, n *node, r *Rule) bool {
			r.Pos = n.pos
			return true
		},
	}
}

// peerFields are the ways to name workloads.
func peerFields(principal value[string]) []field[Peer] {
	return []field[Peer]{
		bind("principal", "A SPIFFE ID, for example spiffe://cluster.local/ns/default/sa/sleep.", principal,
			func(p *Peer, s string, _ *node) { p.Principal = s }),
		bind("serviceAccount", "The name of a service account, of this policy's namespace if no other is given.", objectName("a service account"),
			func(p *Peer, s string, _ *node) { p.ServiceAccount = s }),
		bind("namespace", "A namespace: of the service account beside it, or on its own for all its workloads.", namespaceName(),
			func(p *Peer, s string, n *node) { p.Namespace, p.NamespacePos = s, n.pos }),
	}
}

// onlyOne is the rule that a principal or a service account or a namespace
// alone must be named.
func onlyOne(what string, namespaceAlone bool) (jsonSchema, func(r *reader, n *node, p *Peer) bool) {
	ways := []any{
		jsonSchema{"required": []string{"principal"}},
		jsonSchema{"required": []string{"serviceAccount"}},
	}
	if namespaceAlone {
		ways = append(ways, jsonSchema{"required": []string{"namespace"}, "properties": jsonSchema{"serviceAccount": false}})
	} else {
		ways[0] = jsonSchema{"required": []string{"principal"}, "properties": jsonSchema{"namespace": false}}
	}
	return jsonSchema{"oneOf": ways}, func(r *reader, n *node, p *Peer) bool {
		p.Pos = n.pos
		switch {
		case p.Principal != "" && (p.ServiceAccount != "" || p.Namespace != ""):
			r.errorf(n, "exclusive-fields", "%s has a principal and more: a principal says it all, so remove the rest", what)
		case p.Principal == "" && p.ServiceAccount == "" && (p.Namespace == "" || !namespaceAlone):
			ways := "principal or serviceAccount"
			if namespaceAlone {
				ways = "principal, serviceAccount or namespace"
			}
			r.errorf(n, "missing-field", "%s needs one of %s", what, ways)
		default:
			return true
		}
		return false
	}
}

// peer selects workloads.
func peer() value[Peer] {
	rules, check := onlyOne("an element of from", true)
	p := principal()
	schema := p.schema
	p.schema = func() jsonSchema {
		return merge(schema(), jsonSchema{"description": "A SPIFFE ID. With a trailing * every one that starts like it."})
	}
	return object[Peer]{what: "an element of from", fields: peerFields(p), rules: rules, check: check}.value()
}

func to() object[To] {
	return object[To]{
		what: "an element of to",
		fields: []field[To]{
			bind("hosts", hostsDoc, hosts(1), func(t *To, h []Host, _ *node) { t.Hosts = h }).must(),
			bind("except", "Hosts among these that are not meant.", hosts(0), func(t *To, h []Host, _ *node) { t.Except = h }),
		},
		check: checkExcept,
	}
}

// checkExcept refuses exceptions from what is not meant anyhow, and exceptions
// that leave nothing.
func checkExcept(r *reader, n *node, t *To) bool {
	t.Pos = n.pos
	good := true
	for _, x := range t.Except {
		if !slices.ContainsFunc(t.Hosts, func(h Host) bool { return h.Pattern.Covers(x.Pattern) || x.Pattern.Covers(h.Pattern) }) {
			r.diags.Errorf(x.Pos, "except-outside", "%s excludes nothing: none of the hosts covers it", x.Pattern)
			good = false
		}
	}
	excluded := func(h Host) bool {
		return slices.ContainsFunc(t.Except, func(x Host) bool { return x.Pattern.Covers(h.Pattern) })
	}
	if !slices.ContainsFunc(t.Hosts, func(h Host) bool { return !excluded(h) }) {
		r.errorf(n.get("except"), "except-all", "nothing is left of the hosts: every one of them is excluded")
		good = false
	}
	return good
}

// checkNamespaces refuses what a policy cannot speak for.
func checkNamespaces(r *reader, _ *node, p *EgressPolicy) bool {
	good := true
	errorf := func(peer Peer, code, format string, args ...any) {
		pos := peer.Pos
		if peer.Namespace != "" {
			pos = peer.NamespacePos
		}
		r.diags.Errorf(pos, code, format, args...)
		good = false
	}
	homeless := func(peer Peer) bool { return p.Namespace == "" && peer.ServiceAccount != "" && peer.Namespace == "" }
	const where = "the service account %s is in no namespace: this policy has none, so add `namespace` beside it"
	for _, rule := range p.Rules {
		for _, peer := range rule.From {
			switch {
			case homeless(peer):
				errorf(peer, "missing-field", where, peer.ServiceAccount)
			case p.Namespace != "" && peer.Namespace != "" && peer.Namespace != p.Namespace:
				errorf(peer, "foreign-namespace", "a policy of the namespace %s speaks for its own workloads only, not for those of %s: "+
					"write it in a policy of that namespace, or in one without a namespace", p.Namespace, peer.Namespace)
			}
		}
	}
	for _, test := range p.Tests {
		if homeless(test.From) {
			errorf(test.From, "missing-field", where, test.From.ServiceAccount)
		}
	}
	return good
}
