package reread_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/reread"
)

// What is in the files counts; what cannot be used is said once, and the last good value
// stays.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	write := func(text string) {
		t.Helper()
		// By a rename, as those do it who must not be read half.
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	now := time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC)
	var reported []string
	o := reread.Options[string]{
		Paths: []string{path},
		Read: func() (string, error) {
			text, err := os.ReadFile(path)
			if string(text) == "bad" {
				err = errors.New("it is bad")
			}
			return string(text), err
		},
		Accept: func(_, fresh string) error {
			if fresh == "odd" {
				return errors.New("it is odd")
			}
			return nil
		},
		Report: func(err error) { reported = append(reported, err.Error()) },
		Now:    func() time.Time { return now },
	}
	_, err := reread.New(o)
	require.ErrorIs(t, err, os.ErrNotExist)
	write("one")
	f, err := reread.New(o)
	require.NoError(t, err)

	write("two")
	now = now.Add(time.Millisecond)
	require.Equal(t, "one", f.Get(), "files are looked at once a second")
	now = now.Add(time.Second)
	require.Equal(t, "two", f.Get())
	for _, wrong := range []string{"bad", "odd"} {
		write(wrong)
		for range 3 {
			f.Look()
			require.Equal(t, "two", f.Get())
		}
	}
	require.Equal(t, []string{"it is bad", "it is odd"}, reported)
	require.NoError(t, os.Remove(path))
	f.Look()
	require.Equal(t, "two", f.Get())
	require.Len(t, reported, 3)
	write("three")
	f.Look()
	require.Equal(t, "three", f.Get())
}
