package faults

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// editsReach says that an edit is at a gateway, whatever becomes of flows.
func (s *watchedSite) editsReach(g *fleet.Gateway, host string) {
	s.t.Helper()
	s.write("edit.yaml", fleet.Allow("edit", "sleep", host))
	s.grants(g, host)
}

// TestFlowsToAPipeThatNobodyReads: what has no room is dropped and counted; the
// database has all the same everything, edits reach gateways, and the control plane ends
// when it is told to. What was not dropped is there once somebody reads.
func TestFlowsToAPipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	for _, read := range []bool{true, false} {
		t.Run(map[bool]string{true: "until later", false: "ever"}[read], func(t *testing.T) {
			t.Parallel()
			var pipe *os.File
			s := newWatchedSite(t, func(s *watchedSite, _ *fleet.ServeOptions) {
				s.file = filepath.Join(s.Dir, "pipe")
				require.NoError(t, syscall.Mkfifo(s.file, 0o600))
				var err error
				pipe, err = os.OpenFile(s.file, os.O_RDWR, 0) // there is a reader, who does not read
				require.NoError(t, err)
				t.Cleanup(func() { _ = pipe.Close() }) // it may have been closed
			})
			g := s.gateway("edited", whole)
			connections := s.stream(8_000, 3*time.Second)
			s.editsReach(g, "e1.example.com")
			s.counted(connections)
			dropped := s.metric(`sallyport_flows_dropped_total{sink="file"}`)
			require.Positive(t, dropped)
			require.Zero(t, s.metric(`sallyport_flows_written_total{sink="file"}`))
			if !read {
				began := time.Now()
				require.NoError(t, s.control.Stop(), "a sink keeps the control plane from ending")
				require.Less(t, time.Since(began), 14*time.Second)
				require.Contains(t, s.control.Log(), "flows to file: what is written to does not take anything")
				return
			}
			lines := make(chan int, 1)
			go func() {
				n := 0
				for all := bufio.NewReader(pipe); ; n++ {
					if _, err := all.ReadString('\n'); err != nil {
						lines <- n
						return
					}
				}
			}()
			sinks := s.settled(2 * connections)
			require.Equal(t, dropped, sinks["file"].dropped, "some were dropped although there was room")
			require.NoError(t, s.control.Stop())
			require.NoError(t, pipe.SetReadDeadline(time.Now().Add(time.Second))) // what is in the pipe is read
			require.EqualValues(t, sinks["file"].written, <-lines)
			require.EqualValues(t, sinks["store"].written, s.appended())
		})
	}
}

// TestFlowsToAFullDisk: where the database's and the file's disk is full, each flow is
// written or counted as dropped; edits reach gateways; and when there is room, flows are
// written again, each line whole.
func TestFlowsToAFullDisk(t *testing.T) {
	t.Parallel()
	var disk string
	s := newWatchedSite(t, func(s *watchedSite, o *fleet.ServeOptions) {
		disk = filepath.Join(s.Dir, "disk")
		require.NoError(t, os.Mkdir(disk, 0o700))
		s.db, s.file = filepath.Join(disk, "flows.db"), filepath.Join(disk, "flows.jsonl")
		o.Binary = onSmallDisk(t, s.Dir, disk, "16m")
	})
	// The disk is seen where the control plane sees it.
	seen := fmt.Sprintf("/proc/%d/root%s", s.control.PID(), disk)
	ballast := filepath.Join(seen, "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	_, err = io.Copy(f, io.LimitReader(zeros{}, 12<<20))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	g := s.gateway("edited", whole)
	connections := s.stream(2_000, 3*time.Second)
	s.editsReach(g, "e1.example.com")
	s.counted(connections)
	full := s.settled(2 * connections)
	for name, got := range full {
		require.Positive(t, got.dropped, "the disk was never full for %s: %v", name, full)
	}
	require.Contains(t, s.control.Log(), "flows are lost: they cannot be written")

	require.NoError(t, os.Remove(ballast))
	more := s.stream(500, time.Second)
	sinks := s.settled(2 * (connections + more))
	for name, got := range sinks {
		require.Equal(t, full[name].dropped, got.dropped, "flows of %s are lost, although there is room", name)
	}
	// What is there is what the counters say.
	content, err := os.ReadFile(filepath.Join(seen, "flows.jsonl"))
	require.NoError(t, err)
	complete := 0
	for line := range strings.Lines(string(content)) {
		if strings.HasSuffix(line, "}\n") {
			complete++
		}
	}
	require.EqualValues(t, sinks["file"].written, complete)
	kept, err := s.control.Get("/flows?limit=1000000&group=" + demo.Group)
	require.NoError(t, err)
	require.EqualValues(t, sinks["store"].written, strings.Count(kept, "\n"))
}

// onSmallDisk is the program with a file system of that size at a directory, which
// nobody else sees.
func onSmallDisk(t *testing.T, dir, disk, size string) string {
	t.Helper()
	own := "--mount"
	if os.Geteuid() != 0 {
		own = "--user --map-root-user --mount"
	}
	script := filepath.Join(dir, "on-small-disk")
	text := fmt.Sprintf("#!/bin/sh\nexec unshare %s sh -c 'mount -t tmpfs -o size=%s tmpfs %s && exec %s \"$@\"' sallyport \"$@\"\n",
		own, size, disk, binary)
	require.NoError(t, os.WriteFile(script, []byte(text), 0o700))
	return script
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
