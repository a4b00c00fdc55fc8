package migrate

import (
	"fmt"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Result is a policy in our own language.
type Result struct {
	// Files have what was written, by the name they should have in a directory.
	Files  []source.File
	Report *Report
}

// migration is one run.
type migration struct {
	options Options
	in      *input
	docs    *syntax.Documents
	gateway *syntax.EgressGateway
	// synthetic says that no file describes the gateway.
	synthetic bool

	population population
	known      *known
	rules      istio.RuleSet
	registry   []istio.Registration
	names      names
	// closed says that an ALLOW policy applies, so that defaultAction has no say.
	closed bool

	out    output
	report *Report
}

// Istio writes Istio's documents, and whatever else the files hold, as a policy
// of our own. Nothing is written if there is an error among the findings: a
// document that cannot be honoured exactly, for example.
func Istio(files []source.File, options Options) (*Result, diag.List) {
	m := &migration{options: options, in: read(files), names: names{}, report: newReport()}
	if diags := m.decode(); diags.HasErrors() {
		return nil, diags
	}
	before, diags := compile.Compile(m.docs, options.Now)
	if diags.HasErrors() {
		return nil, diags
	}
	m.report.Warnings = append(m.report.Warnings, diags...)
	m.population = populationOf(m.gateway)
	m.known = newKnown(before.FindGateway(m.gateway.Name))
	// Their findings are among Compile's.
	m.rules, _ = istio.Rules(m.docs, m.gateway)
	m.registry, _ = istio.Registry(m.docs, m.gateway)
	for _, p := range m.docs.Policies {
		m.names["EgressPolicy "+p.Name] = true
	}
	for _, d := range m.docs.Destinations {
		m.names["Destination "+d.Namespace+" "+d.Name] = true
	}
	for _, d := range m.in.documents {
		if d.kind != "" {
			m.report.documents++
		}
	}
	m.leaveOut()
	if diags := m.carry(); diags.HasErrors() {
		return nil, diags
	}
	m.destinations()
	m.policies()
	m.notes()
	result := &Result{Report: m.report}
	var problems diag.List
	if result.Files, problems = m.print(); problems.HasErrors() {
		return nil, problems
	}
	return result, m.prove(before, result)
}

func newReport() *Report {
	return &Report{Converted: []Item{}, Carried: []Item{}, Kept: []Item{}, LeftOut: []Item{}, Notes: []string{}, Warnings: diag.List{}}
}

// decode reads the documents, and finds or makes the gateway.
func (m *migration) decode() diag.List {
	d := syntax.Decoder{Namespace: m.options.Namespace}
	docs, diags := d.Decode(m.in.files)
	diags = append(diags, m.in.problems...)
	diags.Sort()
	if diags.HasErrors() {
		return withFlags(diags)
	}
	m.report.Warnings = append(m.report.Warnings, diags...)
	m.docs = docs
	switch len(docs.Gateways) {
	case 0:
		m.synthetic = true
		made, found := d.Decode([]source.File{file("the EgressGateway to be made up", m.options.Gateway.yaml(m.options.Gateway.DefaultAction))})
		if found.HasErrors() {
			return found
		}
		docs.Gateways = made.Gateways
	case 1:
	default:
		diags.Errorf(docs.Gateways[1].Pos, "several-gateways", "there is a second EgressGateway, %s, and what is written speaks for all gateways: import the files of one at a time", docs.Gateways[1].Name)
		return diags
	}
	m.gateway = docs.Gateways[0]
	return nil
}

// withFlags says what else than an edit of the files helps against an error.
func withFlags(diags diag.List) diag.List {
	for i, d := range diags {
		if d.Code == "missing-namespace" {
			diags[i].Message += ", or name it with -n, as for kubectl"
		}
	}
	return diags
}

// item is the report's entry for a document.
func (m *migration) item(kind string, meta *syntax.Meta) Item {
	return Item{Kind: kind, Namespace: meta.Namespace, Name: meta.Name, Position: meta.Pos}
}

// comment says where a document came from.
func (m *migration) comment(i Item) string {
	return "From " + i.fullName() + ", " + i.Position.String()
}

// leaveOut lists what is not of the policy language.
func (m *migration) leaveOut() {
	for _, d := range m.in.foreign {
		m.report.LeftOut = append(m.report.LeftOut, d.leftOut())
	}
}

// carry takes over what is in our language already. One that this package does
// not see where the policy language does is an error: it would be lost.
func (m *migration) carry() diag.List {
	var diags diag.List
	for _, meta := range m.natives() {
		if _, ok := m.in.find(meta.Pos); !ok {
			diags.Errorf(meta.Pos, "cannot-keep", "this document cannot be taken over as it is written: put it in a file of its own")
		}
	}
	for _, d := range m.in.documents {
		if !d.isNative() || d.kind == "EgressGateway" {
			continue
		}
		item := Item{Kind: d.kind, Namespace: d.namespace, Name: d.name, Position: d.pos}
		if d.kind == "PolicyTest" && m.namesRules(d) {
			item.Why = "it names rules, or reasons, that are others now"
			item.Todo = "write it anew, or leave out expectRule and expectReason"
			m.report.LeftOut = append(m.report.LeftOut, item)
			continue
		}
		m.out.carried = append(m.out.carried, d)
		m.report.Carried = append(m.report.Carried, item)
	}
	return diags
}

// natives are the documents of our own kinds.
func (m *migration) natives() []*syntax.Meta {
	var out []*syntax.Meta
	for _, d := range m.docs.Policies {
		out = append(out, &d.Meta)
	}
	for _, d := range m.docs.Destinations {
		out = append(out, &d.Meta)
	}
	for _, d := range m.docs.Tests {
		out = append(out, &d.Meta)
	}
	return out
}

func (m *migration) namesRules(d document) bool {
	return slices.ContainsFunc(m.docs.Tests, func(t *syntax.PolicyTest) bool {
		return t.Pos.File == d.pos.File && t.Pos.Line == d.pos.Line &&
			slices.ContainsFunc(t.Tests, func(q syntax.Test) bool { return q.ExpectRule != "" || q.ExpectReason != "" })
	})
}

// keep writes a document as it was.
func (m *migration) keep(meta syntax.Meta, item Item, why string) {
	item.Why = why
	m.report.Kept = append(m.report.Kept, item)
	m.out.kept = append(m.out.kept, kept{meta: meta, why: why})
}

func (m *migration) note(format string, args ...any) {
	m.report.Notes = append(m.report.Notes, fmt.Sprintf(format, args...))
}

// notes says what concerns the whole.
func (m *migration) notes() {
	if !m.synthetic {
		return
	}
	m.report.Notes = append(m.report.Notes, "no file describes the gateway: the EgressGateway "+m.gateway.Name+" is made up; see to its listeners, trustDomain and nodes")
	if !m.rules.HasAllowPolicy && m.gateway.DefaultAction == model.Deny {
		m.report.Notes = append(m.report.Notes, "no ALLOW policy applies to the gateway: in Istio it would allow everything that no policy denies; here nothing is allowed, as the EgressGateway says defaultAction: Deny. "+
			"Import with --default-action Allow to keep Istio's meaning")
	}
	if !m.gateway.AllowAny {
		m.report.Notes = append(m.report.Notes, "hosts that nothing registers are refused (outbound: RegistryOnly): a mesh whose outboundTrafficPolicy is ALLOW_ANY, as it is unless somebody sets it, would let workloads reach them. "+
			"Import with --outbound AllowAny to keep that")
	}
}
