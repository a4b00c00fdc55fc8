package suggest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// policyName is the name of what is suggested.
const policyName = "observed"

// CheckFold says why a wildcard must not take the place of hosts, if it must not.
func CheckFold(p hostname.Pattern) error {
	switch {
	case !p.IsWildcard():
		return fmt.Errorf("%s is one host: to fold is to write a wildcard, such as *.%s", p, p)
	case p.PublicSuffix():
		return fmt.Errorf("%s covers hosts of unrelated owners: name the domain that is meant", p)
	default:
		return nil
	}
}

// workload is what the suggestion says of one principal.
type workload struct {
	peer      Peer
	namespace string
	grants    map[hostname.Pattern]*Grant
}

// policies groups the pairs by namespace, and within it the principals that reach the
// same.
func policies(all []*pair, o Options) []Policy {
	byPrincipal := make(map[string]*workload)
	domestic := o.domestic(all)
	for _, p := range all {
		w := byPrincipal[p.principal]
		if w == nil {
			w = o.workload(p.principal, domestic)
			byPrincipal[p.principal] = w
		}
		pattern := o.folded(p.name)
		g := w.grants[pattern]
		if g == nil {
			g = &Grant{Pattern: pattern}
			w.grants[pattern] = g
		}
		g.Names = append(g.Names, p.name)
		g.Use.add(p.use)
	}
	byNamespace := make(map[string]map[string][]*workload) // and by what they reach
	for _, principal := range slices.Sorted(maps.Keys(byPrincipal)) {
		w := byPrincipal[principal]
		w.dropCovered()
		if byNamespace[w.namespace] == nil {
			byNamespace[w.namespace] = make(map[string][]*workload)
		}
		key := w.reach()
		byNamespace[w.namespace][key] = append(byNamespace[w.namespace][key], w)
	}
	var out []Policy
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		p := Policy{Namespace: namespace, Name: freeName(o.Documents, namespace, policyName), Owner: o.owner(namespace)}
		for _, alike := range byNamespace[namespace] {
			p.Rules = append(p.Rules, ruleOf(alike))
		}
		slices.SortFunc(p.Rules, func(a, b Rule) int { return strings.Compare(a.From[0].Principal, b.From[0].Principal) })
		p.Folder, p.Outside = o.folder(p)
		out = append(out, p)
	}
	return out
}

// folder is where the team that has the namespace writes, if there is one, and what of
// the policy it may not allow.
func (o Options) folder(p Policy) (string, []hostname.Pattern) {
	d := delegated(o.Documents, p.Namespace)
	if d == nil {
		return "", nil
	}
	var outside []hostname.Pattern
	for _, r := range p.Rules {
		for _, g := range r.To {
			if len(d.Hosts) > 0 && !slices.ContainsFunc(d.Hosts, func(h syntax.Host) bool { return h.Pattern.Covers(g.Pattern) }) {
				outside = append(outside, g.Pattern)
			}
		}
	}
	slices.SortFunc(outside, hostname.Compare)
	return d.Folder, slices.Compact(outside)
}

// domestic tells the principals that are of the trust domain of each gateway where they
// were seen: others, which a listener gives to addresses, are nobody in a policy of their
// namespace. Without a policy, which would say it, there must be one trust domain only.
func (o Options) domestic(all []*pair) func(principal string) bool {
	if o.Model == nil {
		several := slices.ContainsFunc(all, func(p *pair) bool { return trustDomain(p.principal) != trustDomain(all[0].principal) })
		return func(string) bool { return !several }
	}
	foreign := make(map[string]bool)
	for _, p := range all {
		for group := range p.groups {
			if g := o.Model.FindGateway(group); g != nil && g.TrustDomain != trustDomain(p.principal) {
				foreign[p.principal] = true
			}
		}
	}
	return func(principal string) bool {
		return !foreign[principal] && slices.ContainsFunc(o.Model.Gateways, func(g *model.Gateway) bool { return g.TrustDomain == trustDomain(principal) })
	}
}

func trustDomain(principal string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(principal, "spiffe://"), "/")
	return domain
}

// workload says how a principal is written: in a policy of its namespace, if that is one
// for the policy language. A service account is only written as such where no gateway of
// another trust domain could take it for one of its own.
func (o Options) workload(principal string, domestic func(string) bool) *workload {
	w := &workload{peer: Peer{Principal: principal}, grants: make(map[hostname.Pattern]*Grant)}
	namespace, account := model.Namespace(principal), model.ServiceAccount(principal)
	if !syntax.IsNamespace(namespace) || !domestic(principal) {
		return w
	}
	w.namespace = namespace
	sameDomain := o.Model != nil && !slices.ContainsFunc(o.Model.Gateways, func(g *model.Gateway) bool { return g.TrustDomain != trustDomain(principal) })
	if sameDomain && syntax.IsServiceAccount(account) {
		w.peer.ServiceAccount = account
	}
	return w
}

// folded is the most specific of the folds that covers a name, or just the name.
func (o Options) folded(name hostname.Name) hostname.Pattern {
	out := hostname.Exactly(name)
	for _, f := range o.Folds {
		if f.Matches(name) && (!out.IsWildcard() || out.Covers(f)) {
			out = f
		}
	}
	return out
}

// dropCovered leaves out what another of the workload's wildcards covers.
func (w *workload) dropCovered() {
	for p, g := range w.grants {
		for wide, into := range w.grants {
			if wide != p && wide.Covers(p) {
				into.Names = append(into.Names, g.Names...)
				into.Use.add(g.Use)
				delete(w.grants, p)
				break
			}
		}
	}
}

func (w *workload) patterns() []hostname.Pattern {
	return slices.SortedFunc(maps.Keys(w.grants), hostname.Compare)
}

// reach is the same text for workloads that reach the same.
func (w *workload) reach() string {
	var b strings.Builder
	for _, p := range w.patterns() {
		b.WriteString(p.String() + " ")
	}
	return b.String()
}

func ruleOf(alike []*workload) Rule {
	var r Rule
	for _, w := range alike {
		r.From = append(r.From, w.peer)
	}
	slices.SortFunc(r.From, func(a, b Peer) int { return strings.Compare(a.Principal, b.Principal) })
	for _, p := range alike[0].patterns() {
		g := Grant{Pattern: p}
		for _, w := range alike {
			g.Names = append(g.Names, w.grants[p].Names...)
			g.Use.add(w.grants[p].Use)
		}
		slices.Sort(g.Names)
		g.Names = slices.Compact(g.Names)
		r.To = append(r.To, g)
	}
	return r
}

// owner is the one that all policies of a namespace have.
func (o Options) owner(namespace string) string {
	if o.Documents == nil {
		return ""
	}
	var owners []string
	for _, p := range o.Documents.Policies {
		if p.Namespace == namespace {
			owners = append(owners, p.Owner)
		}
	}
	slices.SortFunc(owners, cmp.Compare[string])
	if owners = slices.Compact(owners); len(owners) != 1 {
		return ""
	}
	return owners[0]
}
