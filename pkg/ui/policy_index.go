package ui

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"sallyport/pkg/control"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// policyIndex is what the policy in force says, by its files. It is made anew when the
// policy changes.
type policyIndex struct {
	of    *model.Model
	files []*policyFile
	by    map[string]*policyFile
}

// policyFile is what one file says.
type policyFile struct {
	Path      string
	Data      []byte
	Documents []document
	// Rules are those in force that are written there, in the order of their lines.
	Rules []fileRule
}

// document is one document of a file.
type document struct {
	Kind, Namespace, Name string
	Line                  int
	Owner, Reason         string
	Expires               time.Time
	Audit                 bool
}

// fileRule is a rule in force.
type fileRule struct {
	ID     string
	Action model.Verdict
	Line   int
	Audit  bool
}

// keptIndex makes the index once for each policy.
type keptIndex struct {
	mu    sync.Mutex
	index *policyIndex
}

func (k *keptIndex) get(p control.Policy) *policyIndex {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.index == nil || k.index.of != p.Model {
		k.index = indexOf(p)
	}
	return k.index
}

func indexOf(p control.Policy) *policyIndex {
	x := &policyIndex{of: p.Model, by: make(map[string]*policyFile, len(p.Tree.Files))}
	for _, f := range p.Tree.Files {
		file := &policyFile{Path: f.Path, Data: f.Data}
		x.files = append(x.files, file)
		x.by[f.Path] = file
	}
	if p.Documents != nil {
		x.addDocuments(p.Documents)
	}
	if p.Model != nil {
		x.addRules(p.Model)
	}
	return x
}

func (x *policyIndex) add(kind string, m syntax.Meta, more document) {
	f := x.by[m.Pos.File]
	if f == nil {
		return
	}
	more.Kind, more.Namespace, more.Name, more.Line = kind, m.Namespace, m.Name, m.Pos.Line
	f.Documents = append(f.Documents, more)
}

func (x *policyIndex) addDocuments(d *syntax.Documents) {
	for _, p := range d.Policies {
		x.add("EgressPolicy", p.Meta, document{Owner: p.Owner, Reason: p.Reason, Expires: p.Expires, Audit: p.Mode == syntax.Audit})
	}
	for _, t := range d.Tests {
		x.add("PolicyTest", t.Meta, document{})
	}
	for _, o := range d.Destinations {
		x.add("Destination", o.Meta, document{})
	}
	for _, o := range d.Gateways {
		x.add("EgressGateway", o.Meta, document{})
	}
	for _, o := range d.Delegations {
		x.add("Delegation", o.Meta, document{})
	}
	for _, o := range d.Istio.AuthorizationPolicies {
		x.add("AuthorizationPolicy", o.Meta, document{Audit: o.Action == syntax.ActionAudit || o.DryRun})
	}
	for _, o := range d.Istio.ServiceEntries {
		x.add("ServiceEntry", o.Meta, document{})
	}
	for _, o := range d.Istio.Gateways {
		x.add("Gateway", o.Meta, document{})
	}
	for _, o := range d.Istio.VirtualServices {
		x.add("VirtualService", o.Meta, document{})
	}
	for _, o := range d.Istio.DestinationRules {
		x.add("DestinationRule", o.Meta, document{})
	}
	for _, f := range x.files {
		slices.SortStableFunc(f.Documents, func(a, b document) int { return cmp.Compare(a.Line, b.Line) })
	}
}

// addRules adds each rule once, in however many groups it is.
func (x *policyIndex) addRules(m *model.Model) {
	seen := make(map[model.RuleID]bool)
	for _, g := range m.Gateways {
		for r := range g.Rules() {
			if f := x.by[r.Origin.File]; f != nil && !seen[r.ID] {
				seen[r.ID] = true
				f.Rules = append(f.Rules, fileRule{ID: r.ID.String(), Action: r.Action, Line: r.Origin.Line, Audit: r.Audit})
			}
		}
	}
	for _, f := range x.files {
		slices.SortFunc(f.Rules, func(a, b fileRule) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.ID, b.ID)) })
	}
}
