package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
)

// rowFormat is a line of a table that grows: what does not fit its column moves the
// others.
const rowFormat = "%-24s  %-7s  %-7s  %-44s  %-32s  %-20s  %s\n"

// row prints a flow as a line of a table.
func (p *flowPrinter) row(f flows.Flow) error {
	if !p.heads {
		p.heads = true
		if _, err := fmt.Fprintf(p.w, rowFormat, "TIME", "EVENT", "VERDICT", "PRINCIPAL", "HOST", "REASON", "BY"); err != nil {
			return err
		}
	}
	by := flows.Printable(f.Rule)
	if f.File != "" {
		by += " " + flows.Printable(f.File) + ":" + strconv.Itoa(f.Line)
	}
	if f.WouldBeRefused() {
		by = strings.TrimSpace(by + " would be refused: " + flows.Printable(string(f.AuditReason)))
		if f.AuditBy != nil {
			by += " by " + flows.Printable(f.AuditBy.Rule) + " " + flows.Printable(f.AuditBy.File) + ":" + strconv.Itoa(f.AuditBy.Line)
		}
	}
	_, err := fmt.Fprintf(p.w, rowFormat, f.Time.UTC().Format("2006-01-02T15:04:05.000Z"), f.ConnectionEvent, f.Verdict,
		orDash(f.SourcePrincipal), orDash(f.Host()), flows.Printable(string(f.Reason)), by)
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return flows.Printable(s)
}

// writeAggregates prints what flows come to.
func writeAggregates(w io.Writer, all []store.Aggregate, form string) error {
	if form == "json" {
		if all == nil {
			all = []store.Aggregate{}
		}
		return writeJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "VERDICT\tENFORCED\tPRINCIPAL\tHOST\tCOUNT\tFIRST\tLAST\tRECEIVED\tSENT\tREASON\tRULE") // Flush says what went wrong
	for _, a := range all {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", a.Verdict, enforced(a), orDash(a.Principal), orDash(a.Host), a.Count,
			a.First.Format("2006-01-02T15:04:05Z"), a.Last.Format("2006-01-02T15:04:05Z"), a.BytesReceived, a.BytesSent,
			flows.Printable(string(a.Reason)), orDash(a.Rule))
	}
	return t.Flush()
}

// enforced is what enforcing everything would have said, and why.
func enforced(a store.Aggregate) string {
	if a.AuditVerdict == nil {
		return "-"
	}
	return strings.TrimSpace(a.AuditVerdict.String() + " " + flows.Printable(string(a.AuditReason)))
}
