package control_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/xds/server"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

const gatewayDocument = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: %s}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: tls, port: 8443, protocol: TLS}
`

// allow is a policy that lets a service account reach hosts.
func allow(name, more string, hosts ...string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: %s, namespace: default}
spec:
%s  rules:
  - action: Allow
    from: [{serviceAccount: app}]
    to:
    - hosts: [%s]
`, name, more, strings.Join(hosts, ", "))
}

// site is a controller on a real directory.
type site struct {
	*control.Controller
	t    *testing.T
	dir  string
	logs *logtest.Hook
	stop func()
}

// newSite starts a controller on a directory with the files.
func newSite(t *testing.T, files map[string]string) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "policies")}
	for name, content := range files {
		s.write(name, content)
	}
	s.start()
	return s
}

// start starts a controller on the directory as it is.
func (s *site) start(change ...func(*control.Options)) {
	t := s.t
	t.Helper()
	log, hook := logtest.NewNullLogger()
	s.logs = hook
	o := control.Options{
		Directory: s.dir, Logger: log, Server: server.New(server.Options{Logger: log}),
		Watching: source.Options{Rescan: time.Second},
	}
	for _, c := range change {
		c(&o)
	}
	s.Controller = control.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(s.stop)
}

// write replaces a file at once.
func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path+".new", []byte(content), 0o600))
	require.NoError(s.t, os.Rename(path+".new", path))
}

func (s *site) remove(name string) {
	s.t.Helper()
	require.NoError(s.t, os.RemoveAll(filepath.Join(s.dir, name)))
}

// eventually waits for the status to be so.
func (s *site) eventually(is func(control.Status) bool) control.Status {
	s.t.Helper()
	var last control.Status
	require.Eventually(s.t, func() bool {
		last = s.Status()
		return is(last)
	}, patience, time.Millisecond, "%+v", &last)
	return last
}

// verdict is what the model in force says about the app and a host.
func (s *site) verdict(host string) model.Verdict {
	s.t.Helper()
	name, err := hostname.Parse(host)
	require.NoError(s.t, err)
	return s.Model().FindGateway("egress").Decide("spiffe://cluster.local/ns/default/sa/app", name).Verdict
}

func generation(n uint64) func(control.Status) bool {
	return func(s control.Status) bool { return s.Generation == n && len(s.Errors) == 0 }
}

func refused(s control.Status) bool { return len(s.Errors) > 0 }

func files() map[string]string {
	return map[string]string{
		"gateway.yaml": fmt.Sprintf(gatewayDocument, "egress"),
		"team.yaml":    allow("team", "", "a.example.com", "b.example.com"),
	}
}

func TestDirectoryBrokenAndMended(t *testing.T) {
	t.Parallel()
	s := newSite(t, files())
	before := s.eventually(generation(1))
	require.True(t, before.Ready)
	require.Equal(t, 2, before.Files)
	require.Equal(t, model.Allow, s.verdict("a.example.com"))

	s.write("team.yaml", allow("team", "  colour: red\n", "c.example.com"))
	broken := s.eventually(refused)
	require.Equal(t, "team.yaml", broken.Errors[0].Pos.File)
	require.Equal(t, 5, broken.Errors[0].Pos.Line)
	require.Equal(t, before.Groups, broken.Groups, "last good stays as it is")
	require.Equal(t, model.Allow, s.verdict("a.example.com"))
	require.True(t, broken.Ready)

	s.write("team.yaml", allow("team", "", "c.example.com"))
	s.eventually(generation(2))
	require.Equal(t, model.Deny, s.verdict("a.example.com"))
	require.Equal(t, model.Allow, s.verdict("c.example.com"))
}

func TestDirectoryBrokenAtStart(t *testing.T) {
	t.Parallel()
	broken := files()
	broken["team.yaml"] = "no: policy\n"
	s := newSite(t, broken)
	first := s.eventually(refused)
	require.False(t, first.Ready)
	require.Empty(t, first.Groups)
	require.Contains(t, first.Reason, "team.yaml:1:")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	require.Equal(t, 503, w.Code)

	s.write("team.yaml", files()["team.yaml"])
	require.True(t, s.eventually(generation(1)).Ready)
}

func TestDirectoryCommentOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, files())
	before := s.eventually(generation(1))
	s.write("team.yaml", "# a comment\n"+files()["team.yaml"])
	after := s.eventually(func(now control.Status) bool { return now.Digest != before.Digest })
	require.Equal(t, before.Generation, after.Generation)
	require.Equal(t, before.Groups, after.Groups)
	name, err := hostname.Parse("a.example.com")
	require.NoError(t, err)
	rule := s.Model().FindGateway("egress").Decide("spiffe://cluster.local/ns/default/sa/app", name).Rule
	require.Equal(t, 7, rule.Origin.Line, "explanations follow the file")
}

func TestDirectoryExpiry(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(5 * time.Second).UTC().Format(time.RFC3339)
	all := files()
	all["short.yaml"] = allow("short", "  expires: "+soon+"\n", "short.example.com")
	s := newSite(t, all)
	s.eventually(generation(1))
	require.Equal(t, model.Allow, s.verdict("short.example.com"))

	s.write("team.yaml", "half: a file")
	s.eventually(refused)
	s.eventually(func(now control.Status) bool { return now.Generation == 2 })
	require.Equal(t, model.Deny, s.verdict("short.example.com"), "although the directory is broken")
	require.Equal(t, model.Allow, s.verdict("a.example.com"))
	require.True(t, s.Status().Curtailed)

	s.write("team.yaml", files()["team.yaml"])
	s.eventually(func(now control.Status) bool { return !now.Curtailed && len(now.Errors) == 0 })
	require.Equal(t, model.Deny, s.verdict("short.example.com"))
}

func TestDirectoryEmptiedAndGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, files())
	before := s.eventually(generation(1))
	s.remove("team.yaml")
	s.eventually(generation(2))
	s.remove("gateway.yaml")
	empty := s.eventually(refused)
	require.Equal(t, control.CodeEmpty, empty.Errors[0].Code)
	require.Equal(t, uint64(2), empty.Generation)
	s.remove("")
	gone := s.eventually(func(now control.Status) bool {
		return len(now.Errors) > 0 && now.Errors[0] != empty.Errors[0]
	})
	require.Equal(t, empty.Groups, gone.Groups)

	for name, content := range files() {
		s.write(name, content)
	}
	back := s.eventually(func(now control.Status) bool { return len(now.Errors) == 0 && now.Digest == before.Digest })
	require.Equal(t, before.Groups[0].Versions["listener"], back.Groups[0].Versions["listener"])
}

func TestDirectoryGatewayRemoved(t *testing.T) {
	t.Parallel()
	all := files()
	all["second.yaml"] = fmt.Sprintf(gatewayDocument, "second")
	s := newSite(t, all)
	before := s.eventually(generation(1))
	require.Len(t, before.Groups, 2)
	s.remove("second.yaml")
	after := s.eventually(generation(2))
	require.Equal(t, "second", after.Groups[1].Name)
	require.True(t, after.Groups[1].Orphaned)
	require.Equal(t, before.Groups[1].Versions, after.Groups[1].Versions)
	require.Equal(t, before.Groups[0], after.Groups[0])

	s.write("team.yaml", allow("team", "", "c.example.com"))
	last := s.eventually(generation(3))
	require.NotEqual(t, before.Groups[0].Versions, last.Groups[0].Versions)
	require.Equal(t, before.Groups[1].Versions, last.Groups[1].Versions, "what nobody describes does not change")
}

// Many writes, with a status that is read meanwhile: the last one wins.
func TestDirectoryChurn(t *testing.T) {
	t.Parallel()
	s := newSite(t, files())
	s.eventually(generation(1))
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w := httptest.NewRecorder()
					s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/status", nil))
					s.verdict("a.example.com")
				}
			}
		})
	}
	for i := range 200 {
		s.write("team.yaml", allow("team", "", fmt.Sprintf("host-%d.example.com", i)))
	}
	require.Eventually(t, func() bool { return s.verdict("host-199.example.com") == model.Allow }, patience, time.Millisecond)
	close(stop)
	all.Wait()
	require.Empty(t, s.Status().Errors, "no half of a file was ever seen")
	for _, e := range s.logs.AllEntries() {
		require.NotEqual(t, logrus.ErrorLevel, e.Level, e.Message)
	}
}

// Stopping leaves no goroutine behind.
func TestDirectoryStop(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	s := newSite(t, files())
	s.eventually(generation(1))
	s.stop()
	require.Eventually(t, func() bool {
		buf := make([]byte, 1<<20)
		all := string(buf[:runtime.Stack(buf, true)])
		return !strings.Contains(all, "sallyport/pkg/control.") && !strings.Contains(all, "sallyport/policy/") &&
			!strings.Contains(all, "fsnotify")
	}, patience, 10*time.Millisecond)
}
