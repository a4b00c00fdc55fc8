// Package store keeps flows, and what they come to by principal and host, in an
// SQLite database: the last so many flows, an aggregate for each principal, host and
// verdict, and counts over time, all bounded by number, age and size. It survives
// restarts, if it has a file.
//
// One goroutine appends, in batches, each of which is one transaction; any number
// read. What Append has returned without an error for is on disk, also after a power
// cut. A database that is damaged is set aside, and a new one begun.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sallyport/pkg/flows"
)

// Limits bound a store. Zero values mean the defaults.
type Limits struct {
	// Flows is how many flows are kept: 100,000, or 10,000 without a file.
	Flows int
	// Aggregates is how many aggregates are kept of each verdict, so that names that
	// were made up and refused do not drive out the others: 100,000.
	Aggregates int
	// Counts is how many counts over time are kept, in minutes and in quarters of an
	// hour: 100,000 each, enough for sixty reasons and groups at any time.
	Counts int
	// Age is how long flows are kept, and AggregateAge how long aggregates are after
	// they were last seen: a week, and 90 days.
	Age, AggregateAge time.Duration
	// Bytes is how large the database may become: 1 GB.
	Bytes int64
}

func (l Limits) withDefaults(inMemory bool) Limits {
	const day = 24 * time.Hour
	if l.Flows == 0 {
		if l.Flows = 100_000; inMemory {
			l.Flows = 10_000
		}
	}
	if l.Aggregates == 0 {
		l.Aggregates = 100_000
	}
	if l.Counts == 0 {
		l.Counts = 100_000
	}
	if l.Age == 0 {
		l.Age = 7 * day
	}
	if l.AggregateAge == 0 {
		l.AggregateAge = 90 * day
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 30
	}
	return l
}

// Options are what a Store is opened with.
type Options struct {
	// File is the database; empty for one in memory.
	File   string
	Limits Limits
	// Report is told when a database is set aside; nil for nobody.
	Report func(error)
	// Now is the clock of ages; time.Now if nil.
	Now func() time.Time
}

// Store keeps flows. Use Open, and Close.
type Store struct {
	o Options
	// mu guards the databases against being replaced.
	mu sync.RWMutex
	// write is the one connection that writes, and read those that read; the same for
	// a database in memory.
	write, read *sql.DB
	// trimmed is when what is too much was deleted last, and untrimmed how many flows
	// were appended since some were.
	trimmed   time.Time
	untrimmed int

	followers followers
}

// version is that of the tables. A database of another one is set aside.
const version = 1

const (
	// busy is how long a lock of another process is waited for, which has the file
	// open too.
	busy = 5 * time.Second
	// trimEvery is how often what is too much is deleted; of flows, also whenever as many
	// have come as are this part of those that are kept.
	trimEvery = 5 * time.Second
	trimParts = 10
	// checkpointAt is at how many pages (4 KB) the log of what was written is put into the
	// database: each time, the disk is waited for.
	checkpointAt = 4_096
)

// Open opens a store, and makes its file if there is none.
func Open(o Options) (*Store, error) {
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Limits = o.Limits.withDefaults(o.File == "")
	s := &Store{o: o}
	if o.File != "" {
		if err := os.MkdirAll(filepath.Dir(o.File), 0o700); err != nil {
			return nil, fmt.Errorf("the store of flows: %w", err)
		}
	}
	err := s.open()
	if damaged(err) {
		if err = s.setAside(err); err == nil {
			err = s.open()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the store of flows %s: %w", o.File, err)
	}
	return s, nil
}

// OpenFile opens the file of a store to read it, whoever may be writing it.
func OpenFile(file string) (*Store, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("the store of flows: %w", err)
	}
	s := &Store{o: Options{File: file, Now: time.Now, Report: func(error) {}}}
	var err error
	if s.read, err = sql.Open("sqlite", dsn(file, "mode=ro")); err != nil {
		return nil, err
	}
	s.write = s.read
	if err := checkVersion(s.read); err != nil {
		return nil, errors.Join(fmt.Errorf("the store of flows %s: %w", file, err), s.read.Close())
	}
	return s, nil
}

func dsn(file string, more ...string) string {
	const pragmas = "_pragma=busy_timeout(%d)&_pragma=journal_size_limit(67108864)"
	// A ? or a # in the path would begin something else.
	path := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(file)
	return "file:" + path + "?" + strings.Join(append(more, fmt.Sprintf(pragmas, busy.Milliseconds())), "&")
}

func (s *Store) open() (err error) {
	if s.o.File == "" {
		if s.write, err = sql.Open("sqlite", ":memory:"); err != nil {
			return err
		}
		s.write.SetMaxOpenConns(1) // each connection would have a database of its own
		s.write.SetConnMaxIdleTime(0)
		s.read = s.write
		return s.prepare()
	}
	// Others must not read who went where, and SQLite takes over the mode.
	file, err := os.OpenFile(s.o.File, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	s.write, err = sql.Open("sqlite", dsn(s.o.File, "_pragma=auto_vacuum(incremental)", "_pragma=journal_mode(wal)", "_pragma=synchronous(full)", fmt.Sprintf("_pragma=wal_autocheckpoint(%d)", checkpointAt), "_txlock=immediate"))
	if err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.prepare(); err != nil {
		return errors.Join(err, s.write.Close())
	}
	s.read, err = sql.Open("sqlite", dsn(s.o.File, "mode=ro"))
	return err
}

// prepare checks the database, and makes the tables.
func (s *Store) prepare() error {
	var found int
	if err := s.write.QueryRow("PRAGMA user_version").Scan(&found); err != nil {
		return err
	}
	if found == 0 {
		if _, err := s.write.Exec(tables + fmt.Sprintf("PRAGMA user_version = %d;", version)); err != nil {
			return err
		}
		return s.begin()
	}
	if found != version {
		return otherVersionError(found)
	}
	var ok string
	if err := s.write.QueryRow("PRAGMA quick_check(1)").Scan(&ok); err != nil {
		return err
	}
	if ok != "ok" {
		return malformedError(ok)
	}
	return s.begin()
}

func checkVersion(db *sql.DB) error {
	var found int
	if err := db.QueryRow("PRAGMA user_version").Scan(&found); err != nil {
		return err
	}
	if found != version {
		return otherVersionError(found)
	}
	return nil
}

type malformedError string

func (e malformedError) Error() string { return "the database is damaged: " + string(e) }

type otherVersionError int

func (e otherVersionError) Error() string {
	return fmt.Sprintf("the tables are of version %d, and this program knows %d", int(e), version)
}

// damaged reports whether an error is the database's own, and will stay.
func damaged(err error) bool {
	var of *sqlite.Error
	var malformed malformedError
	var other otherVersionError
	if errors.As(err, &malformed) || errors.As(err, &other) {
		return true
	}
	return errors.As(err, &of) && (of.Code()&0xff == sqlite3.SQLITE_CORRUPT || of.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// setAside gives the database another name, and says so.
func (s *Store) setAside(why error) error {
	if s.o.File == "" {
		return why
	}
	aside := fmt.Sprintf("%s.damaged-%s", s.o.File, s.o.Now().UTC().Format("20060102T150405.000"))
	for _, part := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(s.o.File+part, aside+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(why, err)
		}
	}
	s.o.Report(fmt.Errorf("the store of flows %s cannot be used (%w): it is set aside as %s, and a new one is begun", s.o.File, why, aside))
	return nil
}

// File is where the store is; empty if it is in memory.
func (s *Store) File() string { return s.o.File }

// Write is Append, for a sink.
func (s *Store) Write(ctx context.Context, batch []*flows.Event) (int, error) {
	if err := s.Append(ctx, batch); err != nil {
		return 0, err
	}
	return len(batch), nil
}

// Close closes the database.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers.close()
	if s.read == s.write {
		return s.write.Close()
	}
	return errors.Join(s.read.Close(), s.write.Close())
}
