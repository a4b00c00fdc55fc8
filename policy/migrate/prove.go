package migrate

import (
	"slices"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/diff"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// prove compares what was written with what was there: it reads the files as
// the control plane would, and asks both policies everything.
func (m *migration) prove(before *model.Model, result *Result) diag.List {
	var d syntax.Decoder
	docs, diags := d.Decode(result.Files)
	if diags.HasErrors() {
		return diags
	}
	after, diags := compile.Compile(docs, m.options.Now)
	if diags.HasErrors() {
		return diags
	}
	m.report.Differences = m.unmeant(diff.Compare(before, after, diff.Options{AllWays: true}))
	return nil
}

// unmeant leaves out two differences that are meant. Rules have other names. And
// the gateway's defaultAction is Deny where it had no say: had it one, the
// differences among the verdicts would show it. A note says so, as `diff` of the
// two does not know it.
func (m *migration) unmeant(r *diff.Report) *diff.Report {
	out := &diff.Report{}
	for _, g := range r.Gateways {
		g.Settings = slices.DeleteFunc(g.Settings, func(s diff.Setting) bool {
			meant := m.closed && s.What == "defaultAction" && s.Effect == diff.Narrowed
			if meant {
				m.note("the EgressGateway %s says defaultAction: Deny instead of Allow: it had no say, as an ALLOW policy applies, and no verdict changes; `sallyport diff` shows it all the same, and with --exit-on any exits with 4", g.Name)
			}
			return meant || s.Effect == diff.Neutral
		})
		if len(g.Access)+len(g.Settings) > 0 {
			out.Gateways = append(out.Gateways, g)
		}
	}
	return out
}
