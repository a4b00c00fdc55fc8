package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"sallyport/policy/model"
)

// Sum is what the flows of a principal, of a host, or of both come to.
type Sum struct {
	Allowed, Refused uint64
	// Reached says that there is an allowed one, if only one that has not ended, which is
	// not counted.
	Reached bool
	// Audited is how many of them the audit policies would have decided otherwise.
	Audited uint64
	// Last is when the last of them began.
	Last time.Time
}

// Pair is a principal, without spiffe://, and a host.
type Pair struct{ Principal, Host string }

// sumColumns are those of a Sum, for each verdict.
const sumColumns = "verdict, sum(count), sum(CASE WHEN audit <> '' THEN count ELSE 0 END), max(last)"

// Principals are all that flows through a group of gateways were of, with what they come
// to. It reads all aggregates of the group.
func (s *Store) Principals(ctx context.Context, group string) (map[string]Sum, error) {
	return s.axis(ctx, "SELECT principal, "+sumColumns+" FROM aggregates WHERE grp = ? GROUP BY principal, verdict", group)
}

// Hosts are all that flows through a group of gateways were to, as Principals.
func (s *Store) Hosts(ctx context.Context, group string) (map[string]Sum, error) {
	return s.axis(ctx, "SELECT host, "+sumColumns+" FROM aggregates WHERE grp = ? GROUP BY host, verdict", group)
}

func (s *Store) axis(ctx context.Context, query, group string) (map[string]Sum, error) {
	out := make(map[string]Sum)
	err := s.each(ctx, query, []any{group}, func(rows *sql.Rows) error {
		var key string
		sum, err := scanSum(rows, &key)
		out[key] = out[key].with(sum)
		return err
	})
	return out, err
}

// Cells are what the flows of some principals to some hosts come to, through a group of
// gateways; of those that there are none of, there is no Sum.
func (s *Store) Cells(ctx context.Context, group string, principals, hosts []string) (map[Pair]Sum, error) {
	out := make(map[Pair]Sum)
	if len(principals) == 0 || len(hosts) == 0 {
		return out, nil
	}
	args := []any{group}
	for _, list := range [][]string{principals, hosts} {
		for _, s := range list {
			args = append(args, s)
		}
	}
	query := "SELECT principal, host, " + sumColumns + " FROM aggregates WHERE grp = ? AND principal IN (" + places(len(principals)) +
		") AND host IN (" + places(len(hosts)) + ") GROUP BY principal, host, verdict"
	err := s.each(ctx, query, args, func(rows *sql.Rows) error {
		var p Pair
		sum, err := scanSum(rows, &p.Principal, &p.Host)
		out[p] = out[p].with(sum)
		return err
	})
	return out, err
}

func places(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// verdictSum is a row of sumColumns.
type verdictSum struct {
	verdict          string
	n, audited, last int64
}

// scanSum reads a row of some columns of its own, and sumColumns.
func scanSum(rows *sql.Rows, own ...any) (v verdictSum, err error) {
	err = rows.Scan(append(own, &v.verdict, &v.n, &v.audited, &v.last)...)
	return v, err
}

func (s Sum) with(v verdictSum) Sum {
	if v.verdict == model.Allow.String() {
		s.Allowed, s.Reached = s.Allowed+uint64(v.n), true
	} else {
		s.Refused += uint64(v.n)
	}
	s.Audited += uint64(v.audited)
	if at := time.UnixMicro(v.last).UTC(); at.After(s.Last) {
		s.Last = at
	}
	return s
}
