package flows

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// patience is how long to wait for what must happen.
const patience = 20 * time.Second

// follower follows a file and hands out its lines.
type follower struct {
	t     *testing.T
	path  string
	lines chan string
	done  chan error
}

func follow(t *testing.T, tail Tail) *follower {
	t.Helper()
	f := &follower{t: t, path: tail.Path, lines: make(chan string, 1000), done: make(chan error, 1)}
	tail.Interval = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f.done <- tail.Follow(ctx, func(line []byte) error {
			f.lines <- string(line)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-f.done, context.Canceled)
		require.Empty(t, f.lines, "lines that nobody expected")
	})
	return f
}

func (f *follower) expect(want ...string) {
	f.t.Helper()
	for _, w := range want {
		select {
		case got := <-f.lines:
			require.Equal(f.t, w, got)
		case err := <-f.done:
			f.done <- err
			require.FailNow(f.t, "it stopped", "%v", err)
		case <-time.After(patience):
			require.FailNow(f.t, "no line", "expected %q", w)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f := follow(t, Tail{Path: path}) // not there yet
	write(t, path, "one\ntw")
	f.expect("one")
	write(t, path, "o\n\nthree\r\n")
	f.expect("two", "three")

	// Rotated by renaming; the writer goes on in the old file for a while.
	require.NoError(t, os.Rename(path, path+".1"))
	write(t, path+".1", "four\nfi")
	f.expect("four")
	write(t, path+".1", "ve")
	write(t, path, "six\n")
	f.expect("five", "six")

	// Rotated by truncating.
	require.NoError(t, os.Truncate(path, 0))
	write(t, path, "7\n")
	f.expect("7")

	// Removed and made anew.
	require.NoError(t, os.Remove(path))
	write(t, path, "eight\n")
	f.expect("eight")
}

func TestFollowFromTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	write(t, path, "old\n")
	first := follow(t, Tail{Path: path})
	first.expect("old")
	f := follow(t, Tail{Path: path, FromEnd: true})
	// Nothing tells when the end was found: so write until something arrives.
	require.Eventually(t, func() bool {
		write(t, path, "new\n")
		first.expect("new")
		select {
		case got := <-f.lines:
			require.Equal(t, "new", got)
			return true
		default:
			return false
		}
	}, patience, time.Millisecond)
	write(t, path, "last\n")
	first.expect("last")
	for got := "new"; got != "last"; {
		require.Equal(t, "new", got)
		got = <-f.lines
	}

	// What takes the file's place is read from its start.
	require.NoError(t, os.Rename(path, path+".1"))
	write(t, path, "fresh\n")
	first.expect("fresh")
	f.expect("fresh")
}

func TestFollowRefuses(t *testing.T) {
	dir := t.TempDir()
	err := Tail{Path: dir}.Follow(t.Context(), func([]byte) error { return nil })
	require.ErrorContains(t, err, "not a regular file")

	path := filepath.Join(dir, "access.log")
	write(t, path, "one\n")
	enough := errors.New("enough")
	require.ErrorIs(t, Tail{Path: path}.Follow(t.Context(), func([]byte) error { return enough }), enough)
}

func collect(t require.TestingT, r io.Reader) []string {
	var out []string
	require.NoError(t, Lines(context.Background(), r, func(line []byte) error {
		out = append(out, string(line))
		return nil
	}))
	return out
}

func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.StringMatching(`[a-z]{1,200}`)).Draw(t, "lines")
		text := strings.Join(want, rapid.SampledFrom([]string{"\n", "\r\n", "\n\n"}).Draw(t, "end"))
		var r io.Reader = strings.NewReader(text)
		switch rapid.IntRange(0, 3).Draw(t, "reader") {
		case 1:
			r = iotest.OneByteReader(r)
		case 2:
			r = iotest.DataErrReader(r)
		case 3:
			r = iotest.HalfReader(r)
		}
		require.Equal(t, len(want), len(collect(t, r)))
		require.Equal(t, strings.Join(want, " "), strings.Join(collect(t, strings.NewReader(text)), " "))
	})
}

func TestLongLinesAreCut(t *testing.T) {
	got := collect(t, strings.NewReader("short\n"+strings.Repeat("x", 3*MaxLine)+"\nlast"))
	require.Len(t, got, 3)
	require.Equal(t, "short", got[0])
	require.Len(t, got[1], MaxLine)
	require.Equal(t, "last", got[2])
}

func TestLinesStops(t *testing.T) {
	broken := errors.New("broken")
	require.ErrorIs(t, Lines(t.Context(), iotest.ErrReader(broken), func([]byte) error { return nil }), broken)

	enough := errors.New("enough")
	require.ErrorIs(t, Lines(t.Context(), strings.NewReader("a\nb\n"), func([]byte) error { return enough }), enough)

	// A reader that never returns does not keep it.
	ctx, cancel := context.WithCancel(t.Context())
	silent, writer := io.Pipe()
	defer func() { require.NoError(t, writer.Close()) }()
	cancel()
	require.ErrorIs(t, Lines(ctx, silent, func([]byte) error { return nil }), context.Canceled)
}
