package otel_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/test/fleet"
)

// patience is how long anything may take on a busy machine.
const patience = time.Minute

// The programs are built once.
var sallyport, program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-otel")
	if err == nil {
		defer os.RemoveAll(dir)
		sallyport, program = filepath.Join(dir, "sallyport"), filepath.Join(dir, "collector")
		err = errors.Join(build("../..", sallyport, "./cmd/sallyport"), build(".", program, "./collector"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds a program of the module in a directory, with that module's versions.
func build(module, to, pkg string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-C", module, "-o", to, pkg).CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// collector is a running OpenTelemetry Collector, at the same ports whenever it is
// started.
type collector struct {
	t          *testing.T
	dir, file  string
	grpc, http string
	cmd        *exec.Cmd
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t, dir: t.TempDir(), grpc: free(t), http: free(t)}
	c.file = filepath.Join(c.dir, "logs.json")
	config := fmt.Sprintf(`receivers:
  otlp: {protocols: {grpc: {endpoint: "%s"}, http: {endpoint: "%s"}}}
exporters:
  file: {path: %s, append: true, flush_interval: 50ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    logs: {receivers: [otlp], exporters: [file]}
`, c.grpc, c.http, c.file)
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "config.yaml"), []byte(config), 0o600))
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			said, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			t.Logf("the collector said:\n%s", said)
		}
	})
	c.start()
	return c
}

// free is a port that nobody has.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func (c *collector) start() {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	c.cmd = exec.Command(program, "--config", "file:"+filepath.Join(c.dir, "config.yaml"))
	c.cmd.Stdout, c.cmd.Stderr = log, log
	require.NoError(c.t, c.cmd.Start())
	require.NoError(c.t, log.Close())
	for _, address := range []string{c.grpc, c.http} {
		require.Eventually(c.t, func() bool {
			conn, err := net.Dial("tcp", address)
			return err == nil && conn.Close() == nil
		}, patience, 20*time.Millisecond, "the collector does not listen at %s", address)
	}
}

// kill ends it without a warning.
func (c *collector) kill() {
	_ = c.cmd.Process.Signal(syscall.SIGKILL) // it may have been killed
	_ = c.cmd.Wait()
}

// logs are a line of the file exporter, in OTLP's JSON
// (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
type logs struct {
	ResourceLogs []struct {
		Resource  struct{ Attributes []attribute }
		ScopeLogs []struct{ LogRecords []record }
	}
}

type record struct {
	EventName      string
	SeverityNumber int
	Body           struct{ StringValue string }
	Attributes     []attribute
}

type attribute struct {
	Key   string
	Value struct {
		StringValue *string
		IntValue    *string
		BoolValue   *bool
	}
}

// values are attributes by name, numbers in text.
func values(t *testing.T, all []attribute) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, a := range all {
		require.NotContains(t, out, a.Key)
		switch v := a.Value; {
		case v.StringValue != nil:
			out[a.Key] = *v.StringValue
		case v.IntValue != nil:
			out[a.Key] = *v.IntValue
		case v.BoolValue != nil:
			out[a.Key] = fmt.Sprint(*v.BoolValue)
		default:
			require.FailNow(t, "an attribute without a value", a.Key)
		}
	}
	return out
}

// got are the records that the collector has written, each once, by connection and
// event.
func (c *collector) got() map[string]record {
	c.t.Helper()
	out := make(map[string]record)
	f, err := os.Open(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var l logs
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue // it is being written
		}
		for _, of := range l.ResourceLogs {
			require.Equal(c.t, "sallyport", values(c.t, of.Resource.Attributes)["service.name"])
			for _, scope := range of.ScopeLogs {
				for _, r := range scope.LogRecords {
					a := values(c.t, r.Attributes)
					key := a["sallyport.connection"] + " " + a["sallyport.event"]
					require.NotContains(c.t, out, key, "a record came twice")
					out[key] = r
				}
			}
		}
	}
	require.NoError(c.t, lines.Err())
	return out
}

// controlPlane serves with flows over OTLP.
type controlPlane struct {
	*fleet.ControlPlane
	t    *testing.T
	site *fleet.Site
	told int
}
