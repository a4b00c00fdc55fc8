package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/policy/model"
)

// RuleUse is what the flows that one rule decided come to.
type RuleUse struct {
	Rule    string
	Verdict model.Verdict
	// First and Last are when the first and the last of them began.
	First, Last time.Time
	Count       uint64
}

// ByRule are the rules that decided flows, of all groups, with what those come to; also
// of flows that are no longer kept. A rule is known by its name: a new one of the same
// name goes on with the counts of the old one.
func (s *Store) ByRule(ctx context.Context) ([]RuleUse, error) {
	var out []RuleUse
	const query = "SELECT rule, verdict, min(first), max(last), sum(count) FROM aggregates WHERE rule != '' GROUP BY rule, verdict"
	err := s.each(ctx, query, nil, func(rows *sql.Rows) error {
		var u RuleUse
		var verdict string
		var first, last int64
		if err := rows.Scan(&u.Rule, &verdict, &first, &last, &u.Count); err != nil {
			return err
		}
		if err := u.Verdict.UnmarshalText([]byte(verdict)); err != nil {
			return err
		}
		u.First, u.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		out = append(out, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// begin makes what the first databases did not have: counts over time, and a note of when
// the database was begun; for one that is older than the note, the first flow that it
// knows of, which is no later than it was.
func (s *Store) begin() error {
	_, err := s.write.Exec(countTables+"CREATE TABLE IF NOT EXISTS begun (at INTEGER NOT NULL);"+
		"INSERT INTO begun SELECT coalesce((SELECT min(first) FROM aggregates), ?) WHERE NOT EXISTS (SELECT 1 FROM begun)", s.o.Now().UnixMicro())
	return err
}

// Since is the moment from which on aggregates are complete: when the database was
// begun, or their age ago if that is later. It is zero for a database of which neither
// is known.
func (s *Store) Since(ctx context.Context) (time.Time, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var at int64
	err := s.read.QueryRowContext(ctx, "SELECT at FROM begun").Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	since := time.UnixMicro(at).UTC()
	if age := s.o.Limits.AggregateAge; age > 0 {
		if kept := s.o.Now().Add(-age).UTC(); kept.After(since) {
			since = kept
		}
	}
	return since, nil
}
