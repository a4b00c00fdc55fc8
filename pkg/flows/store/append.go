package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"sallyport/pkg/flows"
)

// tables: a flow has columns for what is asked by, and its JSON. The keys of the
// aggregates have no NULL in them, as no NULL equals another.
const tables = `
CREATE TABLE flows (
	id INTEGER PRIMARY KEY,
	received INTEGER NOT NULL,
	grp TEXT NOT NULL, principal TEXT NOT NULL, host TEXT NOT NULL,
	verdict TEXT NOT NULL, reason TEXT NOT NULL, event TEXT NOT NULL,
	json BLOB NOT NULL
);
CREATE TABLE aggregates (
	grp TEXT NOT NULL, principal TEXT NOT NULL, host TEXT NOT NULL, via TEXT NOT NULL,
	verdict TEXT NOT NULL, reason TEXT NOT NULL, rule TEXT NOT NULL, audit TEXT NOT NULL,
	first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
	received INTEGER NOT NULL, sent INTEGER NOT NULL,
	PRIMARY KEY (grp, principal, host, via, verdict, reason, rule, audit)
) WITHOUT ROWID;
CREATE INDEX aggregates_last ON aggregates (verdict, last);
`

const (
	insertFlows = `INSERT INTO flows (received, grp, principal, host, verdict, reason, event, json) VALUES `
	flowRow     = `(?, ?, ?, ?, ?, ?, ?, ?)`
	// rowsAtOnce is how many rows one statement inserts: calling SQLite costs more than
	// the row.
	rowsAtOnce = 64

	// deleteBut deletes all flows but the latest so many.
	deleteBut = `DELETE FROM flows WHERE id <= (SELECT max(id) FROM flows) - ?`

	addTo = `INSERT INTO aggregates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count,
received = received + excluded.received, sent = sent + excluded.sent`
)

// maxHost bounds a host in the tables: what is longer is no host name (RFC 1035).
const maxHost = 255

// hostKey is a host as it is asked for.
func hostKey(f *flows.Flow) string {
	host := strings.ToLower(f.Host())
	return strings.ToValidUTF8(host[:min(len(host), maxHost)], "")
}

// Append keeps flows: all of them, or with an error none. It also deletes, now and
// then, what is too old or too much.
func (s *Store) Append(ctx context.Context, batch []*flows.Event) error {
	err := s.append(ctx, batch)
	if damaged(err) && s.o.File != "" {
		if err = s.replace(err); err == nil {
			err = s.append(ctx, batch)
		}
	}
	s.followers.tell(batch)
	return err
}

// replace begins a new database in the place of one that turned out to be damaged.
func (s *Store) replace(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = errors.Join(s.read.Close(), s.write.Close()) // they are of no use any more
	if err := s.setAside(why); err != nil {
		return err
	}
	return s.open()
}

func (s *Store) append(ctx context.Context, batch []*flows.Event) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.o.Now()
	return s.transaction(ctx, func(tx *sql.Tx) error {
		if err := insertAll(ctx, tx, batch, now); err != nil {
			return err
		}
		all := make(sums)
		for _, e := range batch {
			all.add(e, hostKey(&e.Flow))
		}
		if err := addAll(ctx, tx, all); err != nil {
			return err
		}
		if err := addCounts(ctx, tx, batch, now); err != nil {
			return err
		}
		if now.Sub(s.trimmed) >= trimEvery {
			s.trimmed, s.untrimmed = now, 0
			return s.trim(ctx, tx, now)
		}
		// So that there are never very many to delete at once, which others wait for.
		if s.untrimmed += len(batch); s.untrimmed >= s.o.Limits.Flows/trimParts {
			s.untrimmed = 0
			_, err := tx.ExecContext(ctx, deleteBut, s.o.Limits.Flows)
			return err
		}
		return nil
	})
}

// insertAll inserts the flows, some at a time.
func insertAll(ctx context.Context, tx *sql.Tx, batch []*flows.Event, now time.Time) error {
	var stmt *sql.Stmt
	prepared := 0
	args := make([]any, 0, rowsAtOnce*8)
	for some := range slices.Chunk(batch, rowsAtOnce) {
		if len(some) != prepared {
			var err error
			stmt, err = tx.PrepareContext(ctx, insertFlows+flowRow+strings.Repeat(", "+flowRow, len(some)-1))
			if err != nil {
				return err
			}
			defer func() { _ = stmt.Close() }() // with the transaction
			prepared = len(some)
		}
		args = args[:0]
		for _, e := range some {
			args = append(args, now.UnixMicro(), e.Instance, e.SourcePrincipal, hostKey(&e.Flow),
				e.Verdict.String(), string(e.Reason), e.ConnectionEvent, e.JSON)
		}
		if err := execute(ctx, stmt, args...); err != nil {
			return err
		}
	}
	return nil
}

// execute looks whether the context has ended, and then runs a statement that takes no
// time without it: the driver has a goroutine for each that can be interrupted.
func execute(ctx context.Context, stmt *sql.Stmt, args ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := stmt.ExecContext(context.WithoutCancel(ctx), args...)
	return err
}

func (s *Store) transaction(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // SQLite may have done it itself, as when the disk is full
		return err
	}
	return tx.Commit()
}

func addAll(ctx context.Context, tx *sql.Tx, all sums) error {
	stmt, err := tx.PrepareContext(ctx, addTo)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }() // with the transaction
	for k, a := range all {
		if err := execute(ctx, stmt, k.group, k.principal, k.host, k.via, k.verdict, k.reason, k.rule, k.audit,
			a.First.UnixMicro(), a.Last.UnixMicro(), a.Count, int64(a.BytesReceived), int64(a.BytesSent)); err != nil {
			return err
		}
	}
	return nil
}

// trim deletes what is beyond the limits.
func (s *Store) trim(ctx context.Context, tx *sql.Tx, now time.Time) error {
	l := s.o.Limits
	keep := l.Flows
	var pages, free, size int64
	for _, p := range []struct {
		pragma string
		to     *int64
	}{{"page_count", &pages}, {"freelist_count", &free}, {"page_size", &size}} {
		if err := tx.QueryRowContext(ctx, "PRAGMA "+p.pragma).Scan(p.to); err != nil {
			return err
		}
	}
	if (pages-free)*size > l.Bytes {
		var count int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM flows").Scan(&count); err != nil {
			return err
		}
		keep = min(keep, count-count/4)
	}
	for _, d := range []struct {
		query string
		args  []any
	}{
		{deleteBut, []any{keep}},
		// Ids follow the time of receipt.
		{"DELETE FROM flows WHERE id < coalesce((SELECT min(id) FROM flows WHERE received >= ?), (SELECT max(id) + 1 FROM flows))", []any{now.Add(-l.Age).UnixMicro()}},
		{"DELETE FROM aggregates WHERE last < ?", []any{now.Add(-l.AggregateAge).UnixMicro()}},
	} {
		if _, err := tx.ExecContext(ctx, d.query, d.args...); err != nil {
			return err
		}
	}
	for _, verdict := range []string{"Allow", "Deny"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM aggregates WHERE verdict = ?1 AND last <= (SELECT last FROM aggregates WHERE verdict = ?1 ORDER BY last DESC LIMIT 1 OFFSET ?2)`,
			verdict, l.Aggregates); err != nil {
			return err
		}
	}
	if err := trimCounts(ctx, tx, now, l.Counts); err != nil {
		return err
	}
	if free < pages/4 {
		return nil // what comes next needs them
	}
	_, err := tx.ExecContext(ctx, "PRAGMA incremental_vacuum(2000)")
	return err
}
