package envoy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

// plain is a bootstrap of an Envoy that closes every connection at once, and
// logs it on its standard output.
const plain = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
node: {id: plain, cluster: plain}
static_resources:
  listeners:
  - name: closing
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: closing
          cluster: nowhere
          access_log:
          - name: stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {text_format_source: {inline_string: "closed %RESPONSE_FLAGS%\n"}}
  clusters: [{name: nowhere}]
`

func config(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestProcessFromStartToStop(t *testing.T) {
	ctx := soon(t)
	accessLog := make(chan string, 10)
	process, err := envoy.Start(ctx, envoy.ProcessOptions{
		Binary: find(t), Config: config(t, plain), Concurrency: 1,
		Flags:     []string{"--log-level", "warning", "--file-flush-interval-msec", "10"},
		AccessLog: func(line string) { accessLog <- line },
	})
	require.NoError(t, err)
	require.NoError(t, process.Ready(ctx))

	address, err := process.Listening(ctx, "closing")
	require.NoError(t, err)
	require.NotZero(t, address.Port(), "port 0 must be replaced by the one that was found")
	conn, err := net.Dial("tcp", address.String())
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, "closed UH", <-accessLog)

	admin, err := process.Admin(ctx)
	require.NoError(t, err)
	stats, err := admin.Stats(ctx, `^(tcp\.closing\.downstream_cx_total|server\.concurrency)$`)
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"tcp.closing.downstream_cx_total": 1, "server.concurrency": 1}, stats)
	clusters, err := admin.Clusters(ctx)
	require.NoError(t, err)
	require.Len(t, clusters.GetClusterStatuses(), 1)
	require.Equal(t, "nowhere", clusters.GetClusterStatuses()[0].GetName())
	dump, err := admin.ConfigDump(ctx, "static_listeners")
	require.NoError(t, err)
	require.True(t, json.Valid(dump))
	require.Contains(t, string(dump), `"closing"`)
	_, err = admin.Get(ctx, "/no-such-thing")
	require.ErrorContains(t, err, "404")
	_, err = admin.Post(ctx, "/logging?level=error")
	require.NoError(t, err)

	usage, err := process.Usage()
	require.NoError(t, err)
	require.Greater(t, usage.RSS, uint64(1<<20))
	require.Positive(t, usage.CPU)

	require.NoError(t, process.Stop(10*time.Second))
	require.ErrorIs(t, syscall.Kill(process.PID(), 0), syscall.ESRCH, "nothing may be left of it")
	_, err = envoy.UsageOf(process.PID())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, process.Stop(time.Second), "had ended before")
}

func TestAdminOnASocketFile(t *testing.T) {
	ctx := soon(t)
	// A path of a socket has 107 bytes at most; a test's own directory may be
	// longer.
	dir, err := os.MkdirTemp("", "admin-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	o := workloadOptions()
	o.Dir, o.Admin, o.Listen = dir, "unix:"+filepath.Join(dir, "admin.sock"), []string{"127.0.0.1:0"}
	o.Certificates = issue(t, newAuthority(t), "web", workloadRequest())
	bundle, err := envoy.Workload(o)
	require.NoError(t, err)
	require.NoError(t, bundle.Write())
	process := start(t, envoy.ProcessOptions{Binary: find(t), Config: bundle.Path(), Concurrency: 1})
	require.NoError(t, process.Ready(ctx))
	info, err := os.Stat(filepath.Join(dir, "admin.sock"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestProcessThatCannotStartSaysWhy(t *testing.T) {
	ctx := soon(t)
	var log []string
	process, err := envoy.Start(ctx, envoy.ProcessOptions{
		Binary: find(t), Config: config(t, "no_such_field: 1"),
		Log: func(line string) { log = append(log, line) },
	})
	require.NoError(t, err)
	err = process.Ready(ctx)
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, "no_such_field")
	<-process.Done()
	require.Contains(t, strings.Join(log, "\n"), "no_such_field")
	require.ErrorContains(t, process.Stop(time.Second), "exit status 1")

	_, err = envoy.Start(ctx, envoy.ProcessOptions{Binary: filepath.Join(t.TempDir(), "missing"), Config: "x"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	process := start(t, envoy.ProcessOptions{Binary: find(t), Config: config(t, plain), Concurrency: 1})
	require.NoError(t, process.Ready(soon(t)))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := process.Listening(ctx, "no such listener")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	deaf := program(t, filepath.Join(t.TempDir(), "deaf"), "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
	heard := make(chan string, 1)
	process, err := envoy.Start(t.Context(), envoy.ProcessOptions{
		Binary: deaf, Config: "x", AccessLog: func(line string) { heard <- line },
	})
	require.NoError(t, err)
	require.Equal(t, "deaf", <-heard)
	require.NoError(t, process.Stop(50*time.Millisecond))
	require.ErrorIs(t, syscall.Kill(process.PID(), 0), syscall.ESRCH)
}

// parentOf makes this test binary a parent that starts an Envoy, prints its
// process id and waits to be killed.
const parentOf = "SALLYPORT_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if path := os.Getenv(parentOf); path != "" {
		process, err := envoy.Start(context.Background(), envoy.ProcessOptions{Config: path, Concurrency: 1})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if err := process.Ready(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(process.PID())
		select {}
	}
	os.Exit(m.Run())
}

func TestEnvoyDiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	parent := exec.CommandContext(soon(t), self)
	parent.Env = append(os.Environ(), parentOf+"="+config(t, plain), "ENVOY="+find(t))
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line := make([]byte, 200)
	n, err := stdout.Read(line)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	require.NoError(t, err, "%s", line[:n])
	require.NoError(t, syscall.Kill(pid, 0), "Envoy runs")

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, patience, 10*time.Millisecond)
}

// gone reports whether a process has ended. One that ended without a parent to
// wait for it may stay as a zombie where process 1 does not reap.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err) || strings.Contains(err.Error(), "no such process")
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
