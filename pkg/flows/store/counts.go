package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// countTables count flows over time, in steps of a minute and of a quarter of an hour: a
// week in minutes would be too much to add up for a chart. They were not in the first
// databases, and are made where they are missing.
const countTables = `
CREATE TABLE IF NOT EXISTS counts (
	step INTEGER NOT NULL, start INTEGER NOT NULL,
	grp TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
	count INTEGER NOT NULL,
	PRIMARY KEY (step, start, grp, verdict, reason)
) WITHOUT ROWID;
`

const addCount = `INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count`

// countStep is one of the steps, and how long its counts are kept.
type countStep struct{ step, keep time.Duration }

// countSteps are all of them, the finest first.
func countSteps() []countStep {
	const day = 24 * time.Hour
	return []countStep{{time.Minute, day + time.Hour}, {15 * time.Minute, 8 * day}}
}

// countKey is what counts are told apart by.
type countKey struct {
	step, start            int64 // seconds
	group, verdict, reason string
}

// counted counts the flows of a batch that ended, at the time at which they began: a
// gateway whose clock is ahead counts now, and what is older than is kept does not.
func counted(batch []*flows.Event, now time.Time) map[countKey]int64 {
	out := make(map[countKey]int64)
	for _, e := range batch {
		if !e.Ended() {
			continue
		}
		at := e.Time
		if at.After(now) {
			at = now
		}
		for _, s := range countSteps() {
			if now.Sub(at) > s.keep {
				continue
			}
			step := int64(s.step / time.Second)
			out[countKey{step, at.Unix() / step * step, e.Instance, e.Verdict.String(), string(e.Reason)}]++
		}
	}
	return out
}

func addCounts(ctx context.Context, tx *sql.Tx, batch []*flows.Event, now time.Time) error {
	all := counted(batch, now)
	if len(all) == 0 {
		return nil
	}
	stmt, err := tx.PrepareContext(ctx, addCount)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }() // with the transaction
	for k, n := range all {
		if _, err := stmt.ExecContext(ctx, k.step, k.start, k.group, k.verdict, k.reason, n); err != nil {
			return err
		}
	}
	return nil
}

// trimCounts deletes what is too old or too much.
func trimCounts(ctx context.Context, tx *sql.Tx, now time.Time, most int) error {
	for _, s := range countSteps() {
		step := int64(s.step / time.Second)
		if _, err := tx.ExecContext(ctx, "DELETE FROM counts WHERE step = ? AND start < ?", step, now.Add(-s.keep).Unix()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM counts WHERE step = ?1 AND start <= (SELECT start FROM counts WHERE step = ?1 ORDER BY start DESC LIMIT 1 OFFSET ?2)`,
			step, most); err != nil {
			return err
		}
	}
	return nil
}

// Count is how many flows of a verdict, for a reason, began within a time.
type Count struct {
	Start   time.Time
	Verdict model.Verdict
	Reason  model.Reason
	Count   uint64
}

// Span is a time that is looked at in steps. Step is in whole minutes, and divides a
// day; Since and Until are cut to it.
type Span struct {
	Since, Until time.Time
	Step         time.Duration
}

// Counts are how many flows ended, at the time at which they began: of a group of
// gateways, or with an empty one of all. They are sorted by Start; what is not there is
// zero. Steps below 15 minutes go back a day, others eight.
func (s *Store) Counts(ctx context.Context, group string, span Span) ([]Count, error) {
	step := int64(span.Step / time.Second)
	if step < 60 || step%60 != 0 || int64(24*time.Hour/time.Second)%step != 0 {
		return nil, fmt.Errorf("flows are not counted in steps of %s", span.Step)
	}
	kept := countSteps()[0].step
	for _, k := range countSteps() {
		if span.Step%k.step == 0 {
			kept = k.step
		}
	}
	const query = `SELECT start / ?1 * ?1 AS at, verdict, reason, sum(count) FROM counts
WHERE step = ?2 AND start >= ?3 AND start < ?4 AND (?5 = '' OR grp = ?5) GROUP BY at, verdict, reason ORDER BY at, verdict, reason`
	args := []any{step, int64(kept / time.Second), span.Since.Unix() / step * step, (span.Until.Unix()/step + 1) * step, group}
	var out []Count
	err := s.each(ctx, query, args, func(rows *sql.Rows) error {
		var c Count
		var start int64
		var verdict string
		if err := rows.Scan(&start, &verdict, &c.Reason, &c.Count); err != nil {
			return err
		}
		if err := c.Verdict.UnmarshalText([]byte(verdict)); err != nil {
			return err
		}
		c.Start = time.Unix(start, 0).UTC()
		out = append(out, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
