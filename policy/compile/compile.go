// Package compile gives documents their meaning: it turns them into the model
// that verdicts, explanations, Envoy resources and logs share. It is pure: the
// same documents at the same moment give the same model, in whatever order they
// were read.
package compile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Compile makes the model of the documents as it is in force at the moment now.
// All findings are returned, sorted; if there is an error among them, the model
// is nil.
//
// Time alone never turns documents that compiled into an error: otherwise a
// grant that runs out would stay in force with the last good policy.
func Compile(docs *syntax.Documents, now time.Time) (*model.Model, diag.List) {
	c := newCompiler(docs, now)
	c.check()
	m := &model.Model{Expiries: c.expiries()}
	for _, g := range c.docs.Gateways {
		m.Gateways = append(m.Gateways, c.gateway(g))
	}
	if !c.diags.HasErrors() {
		c.judgeTests(m)
	}
	c.diags.Sort()
	c.diags = slices.Compact(c.diags) // what is wrong at several gateways is said once
	if c.diags.HasErrors() {
		return nil, c.diags
	}
	return m, c.diags
}

// Check returns, sorted, the findings that stand whatever else the directory
// holds. It is for documents of which some could not be read: Compile would
// report what is missing only because of that.
func Check(docs *syntax.Documents, now time.Time) diag.List {
	c := newCompiler(docs, now)
	c.partial = true
	c.check()
	c.diags.Sort()
	c.diags = slices.Compact(c.diags) // what is wrong at several gateways is said once
	return c.diags
}

// compiler holds what every step needs.
type compiler struct {
	docs  syntax.Documents // sorted copies of the lists
	now   time.Time
	diags diag.List
	// partial says that documents are missing.
	partial bool

	delegations *delegations
}

func (c *compiler) check() {
	c.checkDuplicates()
	c.checkPolicies()
	c.checkDestinations()
	c.checkGateways()
	c.checkDelegations()
	c.diags = append(c.diags, istio.CheckRules(&c.docs, !c.partial)...)
}

func newCompiler(docs *syntax.Documents, now time.Time) *compiler {
	c := &compiler{now: now}
	if docs != nil {
		c.docs = *docs
	}
	c.docs.Policies = sortedBy(c.docs.Policies, func(p *syntax.EgressPolicy) *syntax.Meta { return &p.Meta })
	c.docs.Destinations = sortedBy(c.docs.Destinations, func(d *syntax.Destination) *syntax.Meta { return &d.Meta })
	c.docs.Gateways = sortedBy(c.docs.Gateways, func(g *syntax.EgressGateway) *syntax.Meta { return &g.Meta })
	c.docs.Delegations = sortedBy(c.docs.Delegations, func(d *syntax.Delegation) *syntax.Meta { return &d.Meta })
	c.delegations = newDelegations(c.docs.Delegations)
	return c
}

// sortedBy orders documents by name, so that nothing depends on the order in
// which files were read, and duplicates are neighbours in the order of their
// positions.
func sortedBy[T any](docs []T, meta func(T) *syntax.Meta) []T {
	out := slices.Clone(docs)
	slices.SortStableFunc(out, func(a, b T) int {
		x, y := meta(a), meta(b)
		return cmp.Or(strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name), x.Pos.Compare(y.Pos))
	})
	return out
}

// gateway compiles everything for one group.
func (c *compiler) gateway(doc *syntax.EgressGateway) *model.Gateway {
	rules := c.rulesFor(doc)
	istioRules, found := istio.Rules(&c.docs, doc)
	c.diags = append(c.diags, found...)
	rules.add(istioRules.Rules)
	g := newGateway(doc)
	g.HasAllowPolicy = c.hasAllowPolicy(syntax.Enforce) || istioRules.HasAllowPolicy
	g.HasAuditAllowPolicy = c.hasAllowPolicy(syntax.Audit) || istioRules.HasAuditAllowPolicy
	g.Entries, g.Audit = entries(rules.enforced, c.registry(doc), doc.AllowAny), rules.audit
	g.IndexRules(rules.enforced)
	return g
}

// newGateway is what a group's own document says.
func newGateway(doc *syntax.EgressGateway) *model.Gateway {
	g := &model.Gateway{
		Name:          doc.Name,
		Origin:        doc.Pos,
		TrustDomain:   doc.TrustDomain,
		AuditOnly:     doc.Mode == syntax.Audit,
		AllowAny:      doc.AllowAny,
		DefaultAction: doc.DefaultAction,
		DNS:           doc.DNS,
		Addresses:     doc.Addresses,
		Limits:        doc.Limits,
		Certificates:  doc.Certificates,
		AccessLog:     doc.AccessLog,
		LogStream:     doc.LogStream,
		Nodes:         slices.Compact(slices.Sorted(slices.Values(doc.Nodes))),
		Rollout:       doc.Rollout,
	}
	for _, l := range doc.Listeners {
		g.Listeners = append(g.Listeners, l.Listener)
	}
	return g
}

// hasAllowPolicy reports whether an Allow policy of the mode exists. An expired
// one counts: a grant that runs out must not open everything.
func (c *compiler) hasAllowPolicy(mode syntax.Mode) bool {
	return slices.ContainsFunc(c.docs.Policies, func(p *syntax.EgressPolicy) bool {
		return p.Mode == mode && slices.ContainsFunc(p.Rules, func(r syntax.Rule) bool { return r.Action == model.Allow })
	})
}

// expiries are the future moments at which a policy expires, ascending.
func (c *compiler) expiries() []time.Time {
	var out []time.Time
	for _, p := range c.docs.Policies {
		if p.Expires.After(c.now) {
			out = append(out, p.Expires.UTC())
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.CompactFunc(out, time.Time.Equal)
}

// expired reports whether the policy's rules are gone.
func (c *compiler) expired(p *syntax.EgressPolicy) bool {
	return !p.Expires.IsZero() && !p.Expires.After(c.now)
}
