package store

import (
	"context"
	"database/sql"
	"strconv"

	"sallyport/pkg/flows"
)

// Numbered is a flow with its number in the store: a later one has a greater one. Once
// all flows are too old, or the database is replaced, numbers begin anew.
type Numbered struct {
	ID int64
	*flows.Event
}

// Between are flows whose numbers are greater than After, and, if it is not zero, less
// than Before.
type Between struct{ After, Before int64 }

func (b Between) where() (string, []any) {
	if b.Before == 0 {
		return " AND id > ?", []any{b.After}
	}
	return " AND id > ? AND id < ?", []any{b.After, b.Before}
}

// Page are the latest flows, newest first, to be read on with Between.
func (s *Store) Page(ctx context.Context, f Filter, b Between) ([]Numbered, error) {
	f, err := f.normal()
	if err != nil {
		return nil, err
	}
	where, args := f.where(flowColumns())
	between, more := b.where()
	query := "SELECT id, json FROM flows WHERE " + where + between + " ORDER BY id DESC LIMIT ?"
	var out []Numbered
	err = s.each(ctx, query, append(append(args, more...), f.Limit), func(rows *sql.Rows) error {
		n := Numbered{Event: &flows.Event{}}
		if err := rows.Scan(&n.ID, &n.JSON); err != nil {
			return err
		}
		out = append(out, n)
		return readFlow(n.Event)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CountBetween is how many flows Page would return without a limit, up to most.
func (s *Store) CountBetween(ctx context.Context, f Filter, b Between, most int) (int, error) {
	f, err := f.normal()
	if err != nil {
		return 0, err
	}
	where, args := f.where(flowColumns())
	between, more := b.where()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int
	query := "SELECT count(*) FROM (SELECT 1 FROM flows WHERE " + where + between + " LIMIT " + strconv.Itoa(most) + ")"
	err = s.read.QueryRowContext(ctx, query, append(args, more...)...).Scan(&n)
	return n, err
}

// Latest is the number of the latest flow; 0 if there is none.
func (s *Store) Latest(ctx context.Context) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var id int64
	err := s.read.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM flows").Scan(&id)
	return id, err
}
