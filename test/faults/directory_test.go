package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sallyport/test/fleet"
)

// TestConfigMapSwaps: a thousand swaps of a mounted ConfigMap. What a gateway has
// is always of one generation, and in the end of the last.
func TestConfigMapSwaps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mount := filepath.Join(s.Policies, "mounted")
	names := []string{"a", "b", "c"}
	swap := func(i int) {
		// As kubelet does it: a new directory, then the link is turned by a rename.
		generation := fmt.Sprintf("..%d", i)
		for _, name := range names {
			require.NoError(t, fleet.WriteFile(filepath.Join(mount, generation), name+".yaml",
				fleet.Allow("mounted-"+name, "sleep", fmt.Sprintf("%s.g%d.example.com", name, i))))
			link := filepath.Join(mount, name+".yaml")
			if _, err := os.Lstat(link); err != nil {
				require.NoError(t, os.Symlink("..data/"+name+".yaml", link))
			}
		}
		require.NoError(t, os.Symlink(generation, filepath.Join(mount, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
		require.NoError(t, os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..%d", i-1))))
	}
	swap(0)
	g := s.gateway("one", whole)
	s.grants(g, "a.g0.example.com")
	stop, looked := make(chan struct{}), make(chan int)
	go func() {
		looks := 0
		for {
			select {
			case <-stop:
				looked <- looks
				return
			case <-time.After(2 * time.Millisecond):
			}
			generations := make(map[string]int)
			for host := range granted(t, g) {
				generations[strings.Split(host, ".")[1]]++
			}
			for generation, n := range generations {
				if len(generations) != 1 || n != len(names) {
					t.Errorf("a mix: %s has %d of %d; %v", generation, n, len(names), generations)
				}
			}
			looks++
		}
	}()
	const swaps = 1000
	for i := 1; i <= swaps; i++ {
		swap(i)
		time.Sleep(time.Duration(i%5) * time.Millisecond) // some are seen, some are passed over
	}
	s.grants(g, fmt.Sprintf("c.g%d.example.com", swaps))
	close(stop)
	require.Greater(t, <-looked, 10)
	require.Len(t, granted(t, g), len(names))
	require.Empty(t, s.status().Errors)
	responses, _ := g.Received()
	t.Logf("%d swaps, generation %d, %d responses", swaps, s.status().Generation, responses)
}

// TestInotifyOverflow: more events than the kernel's queue holds. The control
// plane is stopped while they come, so what the last edit would have told is lost;
// it finds it all the same.
func TestInotifyOverflow(t *testing.T) {
	t.Parallel()
	s, g := grantingSite(t)

	raw, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	require.NoError(t, err)
	var queue int
	_, err = fmt.Sscan(string(raw), &queue)
	require.NoError(t, err)
	require.LessOrEqual(t, queue, 1<<20, "this machine's queue is too long to be filled in a test")

	for _, name := range []string{"x.yaml", "y.yaml"} {
		s.write(name, "")
	}
	require.NoError(t, s.control.Signal(syscall.SIGSTOP))
	defer func() { _ = s.control.Signal(syscall.SIGCONT) }()
	// The kernel merges an event with the last one if they are the same, so the two
	// files take turns.
	for i := range queue + 1000 {
		mode := os.FileMode(0o600)
		if i%4 < 2 {
			mode = 0o644
		}
		require.NoError(t, os.Chmod(filepath.Join(s.Policies, []string{"x.yaml", "y.yaml"}[i%2]), mode))
	}
	s.write("allow.yaml", fleet.Allow("first", "sleep", "b.example.com"))
	require.NoError(t, s.control.Signal(syscall.SIGCONT))
	began := time.Now()
	s.grants(g, "b.example.com")
	t.Logf("found %s after the overflow of a queue of %d", time.Since(began), queue)
	require.Less(t, time.Since(began), 12*time.Second, "the rescan is every 10 s")
	require.False(t, granted(t, g)["a.example.com"])
	require.Eventually(t, func() bool { return strings.Contains(s.control.Log(), "overflow") }, patience, 10*time.Millisecond, "it is said")

	s.write("allow.yaml", fleet.Allow("first", "sleep", "c.example.com"))
	s.grants(g, "c.example.com")
}

// TestFloodOfWrites: 10,000 writes in ten seconds. Some of them are published
// meanwhile, none closer together than the directory is looked at, and the last.
func TestFloodOfWrites(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("allow.yaml", fleet.Allow("first", "sleep", "start.example.com"))
	g := s.gateway("one", whole)
	s.grants(g, "start.example.com")
	before := s.status().Generation
	const writes, per = 10_000, time.Millisecond
	began := time.Now()
	var meanwhile []uint64
	for i := range writes {
		s.write("allow.yaml", fleet.Allow("first", "sleep", fmt.Sprintf("w%d.example.com", i)))
		if i%1000 == 999 {
			meanwhile = append(meanwhile, s.status().Generation)
		}
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * per)))
	}
	took := time.Since(began)
	s.grants(g, fmt.Sprintf("w%d.example.com", writes-1))
	for i := 1; i < len(meanwhile); i++ {
		require.Greater(t, meanwhile[i], meanwhile[i-1], "a second of writes, and nothing was published: %v", meanwhile)
	}
	published := s.status().Generation - before
	require.Less(t, published, uint64(took/(5*time.Millisecond))+10, "no two within the quiet time")
	require.Len(t, granted(t, g), 1)
	responses, bytes := g.Received()
	t.Logf("%d writes in %s: %d publications, %d responses, %d KB", writes, took, published, responses, bytes>>10)
}

// TestHostileDirectory: what is no policy is refused within a second, with its
// name, and takes no memory to speak of.
func TestHostileDirectory(t *testing.T) {
	t.Parallel()
	s, g := grantingSite(t)
	responses, _ := g.Received()
	path := func(name string) string { return filepath.Join(s.Policies, name) }
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	for _, tc := range []struct {
		name string
		put  func()
	}{
		{"an alias bomb", func() { s.write("bad.yaml", bomb.String()) }},
		{"lists in lists", func() { s.write("bad.yaml", strings.Repeat("[", 4<<20)) }},
		{"100 MB", func() {
			f, err := os.Create(filepath.Join(s.Dir, "big"))
			require.NoError(t, err)
			line := []byte(strings.Repeat("# more\n", 1<<17))
			for range 100<<20/len(line) + 1 {
				_, err := f.Write(line)
				require.NoError(t, err)
			}
			require.NoError(t, f.Close())
			require.NoError(t, os.Rename(f.Name(), path("bad.yaml")))
		}},
		{"1 TB, and nothing in it", func() {
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "sparse"), nil, 0o600))
			require.NoError(t, os.Truncate(filepath.Join(s.Dir, "sparse"), 1<<40))
			require.NoError(t, os.Rename(filepath.Join(s.Dir, "sparse"), path("bad.yaml")))
		}},
		{"a link to itself", func() { require.NoError(t, os.Symlink("bad.yaml", path("bad.yaml"))) }},
		{"a directory in itself", func() { require.NoError(t, os.Symlink(".", path("bad.yaml"))) }},
		{"a link that leads nowhere", func() { require.NoError(t, os.Symlink("/no/such/file.yaml", path("bad.yaml"))) }},
		{"a FIFO", func() { require.NoError(t, unix.Mkfifo(path("bad.yaml"), 0o600)) }},
		{"a socket", func() {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path("bad.yaml")}))
		}},
		{"a device", func() { require.NoError(t, os.Symlink("/dev/zero", path("bad.yaml"))) }},
		{"not text", func() { s.write("bad.yaml", "\xff\xfe\x00") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.put()
			began := time.Now()
			said := s.eventually(patience, "it is refused", func(st shownStatus) bool { return strings.Contains(st.errors(), "bad.yaml") })
			took := time.Since(began)
			require.Less(t, took, time.Second)
			require.Less(t, s.metric("process_resident_memory_bytes"), float64(400<<20))
			require.NoError(t, os.Remove(path("bad.yaml")))
			s.eventually(patience, "it is mended", func(st shownStatus) bool { return len(st.Errors) == 0 })
			t.Logf("%s: %s", took, strings.Split(said.errors(), "\n")[0])
		})
	}
	after, _ := g.Received()
	require.Equal(t, responses, after, "the gateway was sent something")
	s.write("allow.yaml", fleet.Allow("first", "sleep", "b.example.com"))
	s.grants(g, "b.example.com")
}

// TestEmptyDirectory: an emptied directory, or none, changes nothing, unless it was
// started with the flag that takes it at its word; then grants go.
func TestEmptyDirectory(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"kept": nil, "taken at its word": {"--allow-empty"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, g := grantingSite(t, flags...)
			responses, _ := g.Received()
			generation := s.status().Generation
			for _, file := range []string{"allow.yaml", "gateway.yaml"} {
				require.NoError(t, os.Rename(filepath.Join(s.Policies, file), filepath.Join(s.Dir, file)))
			}
			if flags == nil {
				s.eventually(patience, "it is refused", func(st shownStatus) bool { return len(st.Errors) > 0 })
				require.NoError(t, os.RemoveAll(s.Policies))
				time.Sleep(300 * time.Millisecond)
				require.Equal(t, generation, s.status().Generation)
			} else {
				// The group itself is gone with its document: who has it keeps it, and it
				// is shown as orphaned.
				s.eventually(patience, "it is in force", func(st shownStatus) bool {
					return len(st.Errors) == 0 && st.Generation > generation && len(st.Groups) == 1 && st.Groups[0].Orphaned
				})
			}
			after, _ := g.Received()
			require.Equal(t, responses, after, "the gateway was sent something")
		})
	}
}

// TestSlowWrite: a file that is written in pieces is not there until it is whole.
func TestSlowWrite(t *testing.T) {
	t.Parallel()
	s, g := grantingSite(t)
	responses, _ := g.Received()
	text := fleet.Allow("second", "sleep", "b.example.com") + "---\n" + fleet.Allow("third", "sleep", "c.example.com")
	f, err := os.Create(filepath.Join(s.Policies, "slow.yaml"))
	require.NoError(t, err)
	// Each piece ends where a document could end as well.
	for _, piece := range strings.SplitAfter(text, "\n") {
		_, err := f.WriteString(piece)
		require.NoError(t, err)
		time.Sleep(60 * time.Millisecond)
		require.NotContains(t, granted(t, g), "b.example.com", "half a file was published")
	}
	after, _ := g.Received()
	require.Equal(t, responses, after)
	require.NoError(t, f.Close())
	s.grants(g, "c.example.com")
	require.True(t, granted(t, g)["b.example.com"])
}
