package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/pkg/plain"
	"sallyport/xds/server"
)

// statusReport prints a status for people.
type statusReport struct {
	w   io.Writer
	now time.Time
}

func (r statusReport) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.w, format, args...) }

func (r statusReport) write(s control.Status) {
	p := colours(r.w)
	r.printf("policy directory %s", s.Directory)
	if s.Generation > 0 {
		r.printf(": generation %d, published %s, digest %s, %s", s.Generation, plain.Ago(r.now.Sub(s.PublishedAt)), s.Digest, plural(s.Files, "file"))
	}
	r.printf("\n")
	if s.Reason != "" {
		r.printf("%s\n", p.yellow(s.Reason))
	}
	if s.Curtailed {
		r.printf("%s\n", p.yellow("rules that expired were taken out of it"))
	}
	r.groups(s.Groups, p)
	r.rollouts(s.Groups, p)
	r.nodes(s.Nodes, p)
	for _, n := range s.Nodes {
		r.rejection(n, p)
	}
	r.diagnostics(s, p)
}

func (r statusReport) groups(groups []server.GroupStatus, p palette) {
	rows := [][]string{{"GROUP", "GENERATION", "PUBLISHED", "NODES", "CURRENT", "REJECTING", "EDIT→ACK"}}
	for _, g := range groups {
		took := editToACK(g, g.Generation)
		if took == "" {
			took = "-"
		}
		if g.Orphaned {
			took += p.yellow(", no document describes it any more")
		}
		rows = append(rows, []string{
			g.Name, fmt.Sprint(g.Generation), plain.Ago(r.now.Sub(g.PublishedAt)), fmt.Sprint(g.Nodes), fmt.Sprint(g.Current), fmt.Sprint(g.Rejecting), took,
		})
	}
	r.table(rows)
}

// rollouts say which groups' gateways do not all get the group's generation yet.
func (r statusReport) rollouts(groups []server.GroupStatus, p palette) {
	for _, g := range groups {
		if g.Rollout == nil {
			continue
		}
		colour := p.yellow
		if g.Rollout.State == server.RolloutStopped {
			colour = p.red
		}
		r.printf("\n%s: %s\n", g.Name, colour(g.Rollout.String()))
		if g.Rollout.State == server.RolloutStopped && g.Rollout.Base > 0 {
			r.printf("  its gateways have generation %d; another edit, or another spec.rollout, starts anew\n", g.Rollout.Base)
		}
		if g.Rollout.NACK != nil {
			for _, line := range causeLines(*g.Rollout.NACK) {
				r.printf("  %s\n", p.red(line))
			}
		}
	}
}

func (r statusReport) nodes(nodes []server.NodeStatus, p palette) {
	rows := [][]string{{"NODE", "GROUP", "ENVOY", "PEER", "GENERATION", "STATE"}}
	proved := false
	for _, n := range nodes {
		proved = proved || n.Identity != ""
	}
	if proved {
		rows[0] = []string{"NODE", "GROUP", "ENVOY", "PEER", "IDENTITY", "GENERATION", "STATE"}
	}
	for _, n := range nodes {
		group, state := n.ServedGroup, p.yellow(lag(n))
		switch {
		case !n.Known:
			group, state = n.Group, p.yellow("gets nothing: no EgressGateway is its group")
		case n.Rejecting:
			state = p.red("rejects it") + ", " + lag(n)
		case n.Current:
			state = p.green("current")
		}
		if n.CertificateDue {
			state += ", " + p.yellow("its certificate expires in "+plain.Span(n.CertificateExpires.Sub(r.now)))
		}
		if n.First {
			state += ", among the first"
		}
		row := []string{n.ID, group, n.EnvoyVersion, n.Peer}
		if proved {
			row = append(row, n.Identity)
		}
		rows = append(rows, append(row, generation(n), state))
	}
	r.table(rows)
}

func generation(n server.NodeStatus) string {
	if n.Generation == 0 {
		return "-"
	}
	return fmt.Sprint(n.Generation)
}

// rejection says what a gateway rejected last.
func (r statusReport) rejection(n server.NodeStatus, p palette) {
	nack, kind := n.LastNACK()
	if nack == nil {
		return
	}
	since := ""
	if !n.Rejecting {
		since = fmt.Sprintf("; it has accepted generation %d since", n.Generation)
	}
	r.printf("\n%s rejected its %ss of generation %d, %s%s:\n    %s\n", keyOf(n), kind, nack.Generation, plain.Ago(r.now.Sub(nack.At)), since, inLines(nack.Message))
	for _, line := range causeLines(*nack) {
		if n.Rejecting {
			line = p.red(line)
		}
		r.printf("  %s\n", line)
	}
}

func (r statusReport) diagnostics(s control.Status, p palette) {
	if len(s.Errors) > 0 {
		keeps := ""
		if s.Generation > 0 {
			keeps = fmt.Sprintf(", and generation %d stays in force", s.Generation)
		}
		r.printf("\n%s%s:\n", p.red("the policy directory is refused"), keeps)
		writeDiagnostics(r.w, s.Errors)
	}
	warnings := 0
	for _, d := range s.Warnings {
		if d.Severity == diag.Warning {
			warnings++
		}
	}
	if warnings > 0 {
		r.printf("\n%s, see `sallyport validate`\n", p.yellow(plural(warnings, "warning")))
	}
}

// table prints rows in columns, with a line before them; one of headings only not
// at all. The last column may have colours.
func (r statusReport) table(rows [][]string) {
	if len(rows) == 1 {
		return
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	r.printf("\n")
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i == len(row)-1 {
				line.WriteString(cell)
				break
			}
			if cell == "" {
				cell = "-"
			}
			line.WriteString(cell + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))+2))
		}
		r.printf("%s\n", line.String())
	}
}

// lag says how far behind its group a gateway is.
func lag(n server.NodeStatus) string {
	if n.Behind == 0 {
		return "up to date"
	}
	return fmt.Sprintf("%s behind for %s", plural(n.Behind, "generation"), plain.Span(time.Duration(n.BehindMillis*float64(time.Millisecond))))
}

// editToACK is how long it took from an edit's being noticed to the first and the
// last ACK of the generation; empty if there is none.
func editToACK(g server.GroupStatus, generation uint64) string {
	first, last, n := g.EditToACK(generation)
	switch n {
	case 0:
		return ""
	case 1:
		return plain.Millis(first)
	default:
		return "first " + plain.Millis(first) + ", last " + plain.Millis(last)
	}
}
