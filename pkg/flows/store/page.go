package store

import (
	"context"
	"encoding/json"
	"fmt"
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
	s.mu.RLock()
	defer s.mu.RUnlock()
	query := "SELECT id, json FROM flows WHERE " + where + between + " ORDER BY id DESC LIMIT ?" //nolint:gosec // where is made of constants, what is asked for is in args
	rows, err := s.read.QueryContext(ctx, query, append(append(args, more...), f.Limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	var out []Numbered
	for rows.Next() {
		n := Numbered{Event: &flows.Event{}}
		if err := rows.Scan(&n.ID, &n.JSON); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(n.JSON, &n.Flow); err != nil {
			return nil, fmt.Errorf("a flow in the store cannot be read: %w", err)
		}
		out = append(out, n)
	}
	return out, rows.Err()
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
