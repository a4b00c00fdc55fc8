// Package lint finds what a policy says in vain, or probably not as it was
// meant: rules that others make superfluous, rules that never apply, hosts that
// nobody may use, names that look mistyped. It never guesses about a verdict:
// what it says about a rule is proved from the model, and it is silent where it
// cannot prove it.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// The codes of the findings.
const (
	// Shadowed: another rule of the same action covers the rule.
	Shadowed = "shadowed-rule"
	// Duplicate: Shadowed, and the other way round too.
	Duplicate = "duplicate-rule"
	// Beaten: Deny rules refuse all that the rule allows.
	Beaten = "beaten-rule"
	// NeverApplies: none of the rule's hosts can be used by its workloads.
	NeverApplies = "never-applies"
	// HostNeverApplies: one of the rule's hosts cannot be used by its workloads.
	HostNeverApplies = "host-never-applies"
	// MatchesNobody: no gateway lets in whom the rule speaks for.
	MatchesNobody = "matches-nobody"
	// AllowsEverything: everyone may reach every host.
	AllowsEverything = "allows-everything"
	// UnusedDestination: no rule lets anybody use the Destination.
	UnusedDestination = "unused-destination"
	// UnknownNamespace: the namespace looks like another one, mistyped.
	UnknownNamespace = "unknown-namespace"
)

// Finding is one thing to look at. Those of this package are warnings.
type Finding struct {
	diag.Diagnostic
	// Related are the other places that the message is about.
	Related []Related `json:"related,omitempty"`
}

// Related is another place, and what is there.
type Related struct {
	Pos     diag.Position `json:"position"`
	Message string        `json:"message"`
}

// Check looks at the documents of a directory and at the model that was compiled
// from them. Without a model there is nothing to say. The findings are sorted.
//
// Each rule that is reported as Shadowed, Duplicate, Beaten or NeverApplies can
// be removed without changing a verdict, if the other rules stay, and as long as
// Allow policies apply to the same gateways (model.Gateway.HasAllowPolicy). What
// rules in audit mode would change is left out of it.
func Check(docs *syntax.Documents, m *model.Model) []Finding {
	if m == nil || docs == nil {
		return nil
	}
	l := &linter{docs: docs, written: writtenRules(docs)}
	for _, g := range m.Gateways {
		l.views = append(l.views, newView(g))
	}
	l.checkRules()
	l.checkPeers()
	l.checkDestinations()
	l.checkNamespaces()
	Sort(l.found)
	return l.found
}

// Sort orders findings as diag.List.Sort does.
func Sort(list []Finding) {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}

type linter struct {
	docs    *syntax.Documents
	views   []*view
	written map[model.RuleID]*syntax.Rule
	found   []Finding
}

func (l *linter) warn(pos diag.Position, code string, related []Related, format string, args ...any) {
	d := diag.Diagnostic{Pos: pos, Severity: diag.Warning, Code: code, Message: fmt.Sprintf(format, args...)}
	l.found = append(l.found, Finding{Diagnostic: d, Related: related})
}

// writtenRules are the rules of EgressPolicies by their names.
func writtenRules(docs *syntax.Documents) map[model.RuleID]*syntax.Rule {
	out := make(map[model.RuleID]*syntax.Rule)
	for _, p := range docs.Policies {
		for i := range p.Rules {
			out[model.RuleID{Namespace: p.Namespace, Policy: p.Name, Index: i}] = &p.Rules[i]
		}
	}
	return out
}

// place is the first position that is known.
func place(positions ...diag.Position) diag.Position {
	for _, p := range positions {
		if !p.IsZero() {
			return p
		}
	}
	return diag.Position{}
}

// Title says in a few words what a code is about, those of errors and of the
// compiler's warnings included.
func Title(code string) string {
	switch code {
	case Shadowed:
		return "A rule that another one covers"
	case Duplicate:
		return "A rule that says the same as another one"
	case Beaten:
		return "An Allow rule that Deny rules always beat"
	case NeverApplies:
		return "A rule that never applies"
	case HostNeverApplies:
		return "A host that a rule does not allow, though it names it"
	case MatchesNobody:
		return "Workloads that no gateway lets in"
	case AllowsEverything:
		return "A rule that allows everything"
	case UnusedDestination:
		return "A Destination that nobody may use"
	case UnknownNamespace:
		return "A namespace that looks mistyped"
	case "":
		return "Finding"
	default:
		words := strings.ReplaceAll(code, "-", " ")
		return strings.ToUpper(words[:1]) + words[1:]
	}
}
