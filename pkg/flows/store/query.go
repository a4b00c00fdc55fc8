package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// Filter says which flows are meant. The zero Filter is all of them.
type Filter struct {
	// Principal is a SPIFFE ID, with or without spiffe://; with a * at its end all that
	// begin so.
	Principal string
	// Host is a name, or *.NAME for all below it.
	Host string
	// PrincipalHas and HostHas are parts of them, wherever they stand, for people who
	// search; a host's in any case.
	PrincipalHas, HostHas string
	// Group is that of gateways.
	Group string
	// Verdict is Allow or Deny, and Reason why; empty for any.
	Verdict string
	Reason  model.Reason
	// WouldBeRefused is what was let through and enforcing everything would refuse.
	WouldBeRefused bool
	// Since is when the flow was received at the earliest, and for aggregates when one
	// was last seen.
	Since time.Time
	// Limit is how many there are to be, the latest; 1,000 if zero.
	Limit int
}

// DefaultLimit is how many flows a query is for that does not say it; maxLimit is the
// most.
const (
	DefaultLimit = 1_000
	maxLimit     = 1_000_000
)

// normal is the filter in the form in which flows are kept, or what is wrong.
func (f Filter) normal() (Filter, error) {
	f.Principal = strings.TrimPrefix(f.Principal, "spiffe://")
	f.Host, f.HostHas = strings.ToLower(f.Host), strings.ToLower(f.HostHas)
	if f.Verdict != "" {
		var v model.Verdict
		if err := v.UnmarshalText([]byte(f.Verdict)); err != nil {
			return f, err
		}
		f.Verdict = v.String()
	}
	if f.Limit < 0 || f.Limit > maxLimit {
		return f, fmt.Errorf("at most %d flows can be asked for at once, not %d", maxLimit, f.Limit)
	}
	if f.Limit == 0 {
		f.Limit = DefaultLimit
	}
	if rest := strings.TrimPrefix(f.Host, "*."); strings.Contains(rest, "*") {
		return f, fmt.Errorf("%q is not a host: it must be a name, or *.NAME for all below it", f.Host)
	}
	if i := strings.IndexByte(f.Principal, '*'); i >= 0 && i < len(f.Principal)-1 {
		return f, fmt.Errorf("%q is not a principal: a * may only be at its end", f.Principal)
	}
	return f, nil
}

// Check says what is wrong with the filter, if something is.
func (f Filter) Check() error {
	_, err := f.normal()
	return err
}

// The columns of a table that are not called alike in all: when it was received, or
// last seen, and what enforcing everything would have said.
type columns struct{ time, audit string }

func flowColumns() columns {
	return columns{"received", "coalesce(json_extract(CAST(json AS TEXT), '$.auditVerdict'), '')"}
}

func aggregateColumns() columns { return columns{"last", "audit"} }

// where is the filter as a condition.
func (f Filter) where(of columns) (string, []any) {
	conditions, args := []string{"1"}, []any{}
	add := func(condition string, values ...any) {
		conditions, args = append(conditions, condition), append(args, values...)
	}
	if prefix, ok := strings.CutSuffix(f.Principal, "*"); ok {
		add("substr(principal, 1, ?) = ?", len([]rune(prefix)), prefix)
	} else if f.Principal != "" {
		add("principal = ?", f.Principal)
	}
	if suffix, ok := strings.CutPrefix(f.Host, "*"); ok {
		add("length(host) > ? AND substr(host, ?) = ?", len([]rune(suffix)), -len([]rune(suffix)), suffix)
	} else if f.Host != "" {
		add("host = ?", f.Host)
	}
	for _, part := range []struct{ column, value string }{{"principal", f.PrincipalHas}, {"host", f.HostHas}} {
		if part.value != "" {
			add("instr("+part.column+", ?) > 0", part.value)
		}
	}
	for _, exact := range []struct{ column, value string }{{"grp", f.Group}, {"verdict", f.Verdict}, {"reason", string(f.Reason)}} {
		if exact.value != "" {
			add(exact.column+" = ?", exact.value)
		}
	}
	if f.WouldBeRefused {
		add("verdict = 'Allow' AND " + of.audit + " LIKE 'Deny%'")
	}
	if !f.Since.IsZero() {
		add(of.time+" >= ?", f.Since.UnixMicro())
	}
	return strings.Join(conditions, " AND "), args
}

// matches is where for one flow, which has just been received.
func (f Filter) matches(e *flows.Event) bool {
	if prefix, ok := strings.CutSuffix(f.Principal, "*"); ok {
		if !strings.HasPrefix(e.SourcePrincipal, prefix) {
			return false
		}
	} else if f.Principal != "" && f.Principal != e.SourcePrincipal {
		return false
	}
	host := hostKey(&e.Flow)
	if suffix, ok := strings.CutPrefix(f.Host, "*"); ok {
		if len(host) <= len(suffix) || !strings.HasSuffix(host, suffix) {
			return false
		}
	} else if f.Host != "" && f.Host != host {
		return false
	}
	if !strings.Contains(e.SourcePrincipal, f.PrincipalHas) || !strings.Contains(host, f.HostHas) {
		return false
	}
	return (f.Group == "" || f.Group == e.Instance) && (f.Verdict == "" || f.Verdict == e.Verdict.String()) &&
		(f.Reason == "" || f.Reason == e.Reason) && (!f.WouldBeRefused || e.WouldBeRefused())
}

// Recent are the latest flows, oldest first.
func (s *Store) Recent(ctx context.Context, f Filter) ([]*flows.Event, error) {
	f, err := f.normal()
	if err != nil {
		return nil, err
	}
	where, args := f.where(flowColumns())
	query := "SELECT json FROM flows WHERE " + where + " ORDER BY id DESC LIMIT ?"
	var out []*flows.Event
	err = s.each(ctx, query, append(args, f.Limit), func(rows *sql.Rows) error {
		e := &flows.Event{}
		if err := rows.Scan(&e.JSON); err != nil {
			return err
		}
		out = append(out, e)
		return readFlow(e)
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(out)
	return out, nil
}

// Aggregate is what the flows of a principal to a host come to, of one verdict for one
// reason.
type Aggregate struct {
	Group     string `json:"group"`
	Principal string `json:"principal"`
	Host      string `json:"host"`
	// Via is CONNECT or HTTP; empty for TLS.
	Via     string        `json:"via,omitempty"`
	Verdict model.Verdict `json:"verdict"`
	Reason  model.Reason  `json:"reason"`
	Rule    string        `json:"rule,omitempty"`
	// AuditVerdict and AuditReason are those of the flows.
	AuditVerdict *model.Verdict `json:"auditVerdict,omitempty"`
	AuditReason  model.Reason   `json:"auditReason,omitempty"`
	// First and Last are when the first and the last of them began.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Count is how many ended: 0 if there are only open ones.
	Count         uint64 `json:"count"`
	BytesReceived uint64 `json:"bytesReceived"`
	BytesSent     uint64 `json:"bytesSent"`
}

// Aggregates are what flows come to, also of flows that are no longer kept; sorted by
// group, principal, host and verdict. Limit takes the latest of them.
func (s *Store) Aggregates(ctx context.Context, f Filter) ([]Aggregate, error) {
	f, err := f.normal()
	if err != nil {
		return nil, err
	}
	where, args := f.where(aggregateColumns())
	query := "SELECT * FROM (SELECT * FROM aggregates WHERE " + where +
		" ORDER BY last DESC LIMIT ?) ORDER BY grp, principal, host, via, verdict, reason, rule, audit"
	var out []Aggregate
	err = s.each(ctx, query, append(args, f.Limit), func(rows *sql.Rows) error {
		var a Aggregate
		var k aggregateKey
		var first, last, received, sent int64
		if err := rows.Scan(&k.group, &k.principal, &k.host, &k.via, &k.verdict, &k.reason, &k.rule, &k.audit,
			&first, &last, &a.Count, &received, &sent); err != nil {
			return err
		}
		if err := a.set(k); err != nil {
			return err
		}
		a.First, a.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		a.BytesReceived, a.BytesSent = uint64(received), uint64(sent)
		out = append(out, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
