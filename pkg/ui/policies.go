package ui

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
)

const (
	// policiesSize is how many files are on a page.
	policiesSize = 100
	// expiringWithin is from when on a policy is said to expire.
	expiringWithin = 14 * 24 * time.Hour
	// errorsShown is how many errors and warnings a page has at most, of each.
	errorsShown = 200
)

// The states of a file, as the list is filtered by them.
const (
	fileUnused   = "unused"
	fileExpiring = "expiring"
	fileExpired  = "expired"
	fileAudit    = "audit"
)

// policies is the page of all files.
type policies struct {
	Now    time.Time
	Status control.Status
	// Errors are those of the directory as it is now, and Warnings those of what is in
	// force. MoreErrors and MoreWarnings are left out.
	Errors                   []found
	Warnings                 []diag.Diagnostic
	MoreErrors, MoreWarnings int
	// Since is from when on uses are known.
	Since  time.Time
	Text   string
	States []choice
	Listing[fileRow]
}

// found is an error with the line that it is about.
type found struct {
	diag.Diagnostic
	Line string
}

// fileRow is a file as the list shows it.
type fileRow struct {
	*policyFile
	Use use
	// Owners are those of its documents, each once.
	Owners []string
	// Unused are how many of its rules decided nothing since that is known.
	Unused int
	// Expires is when the first of its documents does, or did; zero if none does.
	Expires                time.Time
	Expired, Expiring, Any bool
	Audit                  bool
}

func (u *UI) policiesPage() Page {
	return Page{
		Name: "policies", Title: "Policies", Nav: true, OwnErrors: true,
		Data: func(r *http.Request) (any, error) {
			known, err := u.ruleUses()
			if err != nil {
				return nil, err
			}
			return policiesOf(queryOf(r), u.now().Status, u.o.Control.Policy(), u.index, known, u.o.Now()), nil
		},
	}
}

func policiesOf(q Query, s control.Status, p control.Policy, index *keptIndex, known uses, now time.Time) policies {
	out := policies{Now: now, Status: s, Since: known.since, Text: q.Get("q")}
	for _, d := range s.Errors {
		if len(out.Errors) == errorsShown {
			out.MoreErrors = len(s.Errors) - errorsShown
			break
		}
		out.Errors = append(out.Errors, found{d, lineOf(p.Refused, d.Pos)})
	}
	for _, d := range s.Warnings {
		if d.Severity != diag.Warning {
			continue
		}
		if len(out.Warnings) == errorsShown {
			out.MoreWarnings++
			continue
		}
		out.Warnings = append(out.Warnings, d)
	}
	state, text := q.Get("state"), strings.ToLower(out.Text)
	for _, c := range []choice{
		{"", "all files", false}, {fileUnused, "with unused rules", false}, {fileExpiring, "expiring", false},
		{fileExpired, "expired", false}, {fileAudit, "in audit mode", false},
	} {
		c.Chosen = c.Value == state
		out.States = append(out.States, c)
	}
	var rows []fileRow
	for _, f := range index.get(p).files {
		if row := fileRowOf(f, known, now); row.is(state) && (text == "" || row.has(text)) {
			rows = append(rows, row)
		}
	}
	out.Listing = list(q, policyColumns(), rows, policiesSize)
	return out
}

func fileRowOf(f *policyFile, known uses, now time.Time) fileRow {
	row := fileRow{policyFile: f}
	for _, r := range f.Rules {
		one, used := known.by[r.ID]
		row.Use.add(one)
		switch {
		case r.Audit: // what it would have decided is not counted by rule
		case !used:
			row.Unused++
		}
		row.Any = true
	}
	for _, d := range f.Documents {
		if d.Owner != "" && (len(row.Owners) == 0 || row.Owners[len(row.Owners)-1] != d.Owner) {
			row.Owners = append(row.Owners, d.Owner)
		}
		row.Audit = row.Audit || d.Audit
		if d.Expires.IsZero() {
			continue
		}
		if row.Expires.IsZero() || d.Expires.Before(row.Expires) {
			row.Expires = d.Expires
		}
		switch left := d.Expires.Sub(now); {
		case left <= 0:
			row.Expired = true
		case left <= expiringWithin:
			row.Expiring = true
		}
	}
	return row
}

func (r fileRow) is(state string) bool {
	switch state {
	case "":
		return true
	case fileUnused:
		return r.Unused > 0
	case fileExpiring:
		return r.Expiring
	case fileExpired:
		return r.Expired
	case fileAudit:
		return r.Audit
	default:
		return false
	}
}

// has reports whether a text, in lower case, is in the file's name, or in what its
// documents are called and whose they are.
func (r fileRow) has(text string) bool {
	if strings.Contains(strings.ToLower(r.Path), text) {
		return true
	}
	for _, d := range r.Documents {
		if strings.Contains(strings.ToLower(d.Kind+" "+d.Namespace+"/"+d.Name+" "+d.Owner+" "+d.Reason), text) {
			return true
		}
	}
	return false
}

func policyColumns() []Column[fileRow] {
	return []Column[fileRow]{
		{Key: "file", Title: "File", Compare: by(func(r fileRow) string { return r.Path })},
		{Key: "documents", Title: "Documents"},
		{Key: "owner", Title: "Owner", Compare: by(func(r fileRow) string { return strings.Join(r.Owners, " ") })},
		{Key: "rules", Title: "Rules", Class: "num", Compare: by(func(r fileRow) int { return len(r.Rules) })},
		{Key: "allowed", Title: "Allowed", Class: "num", Compare: by(func(r fileRow) uint64 { return r.Use.Allowed })},
		{Key: "refused", Title: "Refused", Class: "num", Compare: by(func(r fileRow) uint64 { return r.Use.Refused })},
		{Key: "last", Title: "Last seen (UTC)", Compare: func(a, b fileRow) int { return a.Use.Last.Compare(b.Use.Last) }},
		{Key: "expires", Title: "Expires (UTC)", Compare: func(a, b fileRow) int {
			return cmp.Or(cmp.Compare(first(a.Expires), first(b.Expires)), a.Expires.Compare(b.Expires))
		}},
		{Key: "state", Title: "To look at", Compare: by(func(r fileRow) int { return r.Unused })},
	}
}

// first orders those that expire before those that do not.
func first(t time.Time) int {
	if t.IsZero() {
		return 1
	}
	return 0
}
