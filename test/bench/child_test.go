package bench

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

// child is a program that runs beside the benchmark, and ends with it.
type child struct {
	cmd  *exec.Cmd
	done chan struct{}
	tail *tail
}

// startChild starts a program. Its standard error goes to log as well, if that
// is not nil.
func startChild(b *testing.B, log io.Writer, name string, args ...string) *child {
	b.Helper()
	c := launch(b, log, name, args...)
	b.Cleanup(c.stop)
	return c
}

// launch is startChild for a program that several benchmarks use: it must be
// stopped, and ends with this process at the latest.
func launch(b *testing.B, log io.Writer, name string, args ...string) *child {
	b.Helper()
	c := &child{cmd: exec.Command(name, args...), done: make(chan struct{}), tail: &tail{}}
	c.cmd.Stdout, c.cmd.Stderr = c.tail, c.tail
	if log != nil {
		c.cmd.Stderr = io.MultiWriter(c.tail, log)
	}
	// SIGTERM, so that one with children of its own ends those as well.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// The kernel takes the death of the thread that started a child for the
		// death of its parent: so this thread stays until the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended is not what is measured
			close(c.done)
		}
	}()
	require.NoError(b, <-started)
	return c
}

func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// usage is what the program and its children have used.
func (c *child) usage(b *testing.B) envoy.Usage { return usageOfFamily(b, c.cmd.Process.Pid) }

func usageOfFamily(b *testing.B, pid int) envoy.Usage {
	b.Helper()
	sum, err := envoy.UsageOf(pid)
	require.NoError(b, err)
	for _, kid := range children(b, pid) {
		of := usageOfFamily(b, kid)
		sum.CPU += of.CPU
		sum.RSS += of.RSS
	}
	return sum
}

// children are the processes that have this one as their parent.
func children(b *testing.B, parent int) []int {
	b.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(b, err)
	var found []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// proc(5): pid (name) state ppid …, and a name may hold spaces.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(b, err)
			found = append(found, pid)
		}
	}
	return found
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is the end.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// allowManyFiles raises the limit of open files for this process and those it
// starts. (The Go runtime raises it for this process alone.)
func allowManyFiles(b *testing.B, atLeast uint64) {
	b.Helper()
	var limit syscall.Rlimit
	require.NoError(b, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	require.GreaterOrEqual(b, limit.Max, atLeast, "the hard limit of open files (ulimit -Hn) is too low for this benchmark")
	limit.Cur = limit.Max
	require.NoError(b, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// build builds the sallyport binary: what is measured is what users run.
func build(b *testing.B) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "sallyport")
	out, err := exec.Command("go", "build", "-o", binary, "sallyport/cmd/sallyport").CombinedOutput()
	require.NoError(b, err, string(out))
	return binary
}

// mainThreadCPU is the processor time of the thread that an Envoy applies its
// configuration in; connections are the other threads' work.
func mainThreadCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, pid))
	require.NoError(b, err)
	fields := strings.Fields(string(text))
	require.NotEmpty(b, fields)
	nanos, err := strconv.ParseInt(fields[0], 10, 64)
	require.NoError(b, err)
	return time.Duration(nanos)
}
