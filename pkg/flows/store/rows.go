package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"sallyport/pkg/flows"
)

// each calls a function with each row of what a query finds.
func (s *Store) each(ctx context.Context, query string, args []any, row func(*sql.Rows) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows, err := s.read.QueryContext(ctx, query, args...) //nolint:gosec // queries are made of constants, what is asked for is in args
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readFlow reads what was scanned into an event's JSON.
func readFlow(e *flows.Event) error {
	if err := json.Unmarshal(e.JSON, &e.Flow); err != nil {
		return fmt.Errorf("a flow in the store cannot be read: %w", err)
	}
	return nil
}
