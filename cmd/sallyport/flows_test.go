package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFlowsFromStandardInput(t *testing.T) {
	log, err := os.ReadFile("testdata/access.log")
	require.NoError(t, err)
	fromFile := sallyport(t, "", "flows", "--policies", "../../examples/wikipedia", "testdata/access.log")
	for _, args := range [][]string{nil, {"-"}, {"-", "-f"}} {
		r := sallyport(t, string(log), append([]string{"flows", "--policies", "../../examples/wikipedia"}, args...)...)
		require.Equal(t, fromFile, r)
	}
}

// safeBuffer is written to by one goroutine and read by another.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestFlowsFollow(t *testing.T) {
	log, err := os.ReadFile("testdata/access.log")
	require.NoError(t, err)
	path := t.TempDir() + "/access.log"
	first, rest, _ := strings.Cut(string(log), "\n")
	require.NoError(t, os.WriteFile(path, []byte(first+"\n"), 0o600))

	ctx, cancel := context.WithCancel(t.Context())
	var out, errs safeBuffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	done := make(chan int)
	go func() {
		done <- execute(ctx, root, []string{"flows", "--policies", "../../examples/wikipedia", "-f", path})
	}()
	lines := func(n int) func() bool {
		return func() bool { return strings.Count(out.String(), "\n") == n }
	}
	require.Eventually(t, lines(1), patience, 5*time.Millisecond)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(rest)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Eventually(t, lines(5), patience, 5*time.Millisecond)
	cancel()
	require.Equal(t, exitOK, <-done)
	require.Contains(t, errs.String(), "1 line left out")
}
