package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
	"sallyport/policy"
	"sallyport/policy/model"
)

const (
	us     = "sleep-us"
	canada = "sleep-canada"

	en     = "en.wikipedia.org"
	de     = "de.wikipedia.org"
	es     = "es.wikipedia.org"
	fr     = "fr.wikipedia.org"
	google = "www.google.com"
)

// rig is a stack whose control plane is the sallyport binary.
type rig struct {
	*demo.Stack
	t       *testing.T
	ctx     context.Context
	log     *demo.FlowLog
	control *process
	// raw is the gateway's access log as it was written.
	raw *lines
	// serveFlags are more flags of the control plane.
	serveFlags []string
	// allowed are more address ranges that examples may lead to.
	allowed []string
}

// start brings a rig up with a policy, and takes it down with the test.
func start(t *testing.T, files map[string]string, sites ...lab.Site) *rig {
	t.Helper()
	r := newRig(t, sites...)
	for name, content := range files {
		require.NoError(t, r.Write(name, content))
	}
	return r
}

func newRig(t *testing.T, sites ...lab.Site) *rig {
	t.Helper()
	return rigWith(t, 2*time.Minute, func(o *demo.Options) { o.Sites = sites })
}

// rigWith brings a rig up that is to be done within a time. The flags are more ones of
// the control plane; with --spire, its own certificate is not the stack's.
func rigWith(t *testing.T, within time.Duration, change func(*demo.Options), serveFlags ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	r := &rig{t: t, ctx: ctx, log: &demo.FlowLog{}, raw: &lines{}, serveFlags: serveFlags}
	var envoyLog lines
	o := demo.Options{
		Dir: t.TempDir(), Workloads: []string{us, canada},
		AccessLog: func(line string) { r.raw.add(line); r.log.Line(line) },
		EnvoyLog:  func(who, line string) { envoyLog.add(who + ": " + line) },
		StartControl: func(_ context.Context, policies string, _ svid.Paths) (demo.ControlPlane, error) {
			r.log.Gateway = inForce(policies)
			var err error
			var identity []string
			if !slices.Contains(serveFlags, "--spire") {
				identity = ownFiles(policies)
			}
			r.control, err = serveAs(identity, policies, "127.0.0.1:0", "127.0.0.1:0", r.serveFlags...)
			return r.control, err
		},
	}
	change(&o)
	stack, err := demo.Start(ctx, o)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the control plane's log:\n%s", r.control.log.tail(60))
			t.Logf("the Envoys' logs:\n%s", envoyLog.tail(40))
		}
		require.NoError(t, stack.Close())
		require.Empty(t, r.log.Unreadable(), "lines in the gateway's log that are none")
	})
	require.NoError(t, err)
	r.Stack = stack
	return r
}

// inForce returns the policy of a directory, the last one without errors.
func inForce(dir string) func() *model.Gateway {
	var mu sync.Mutex
	var loader policy.Loader
	var last *model.Gateway
	return func() *model.Gateway {
		mu.Lock()
		defer mu.Unlock()
		if got := loader.Load(dir, time.Now()); got.Model != nil {
			last = got.Model.FindGateway(demo.Group)
		}
		return last
	}
}

// process is a running `sallyport serve`.
type process struct {
	cmd  *exec.Cmd
	xds  netip.AddrPort
	http netip.AddrPort
	log  lines
	done chan struct{}
}

// serve starts the control plane of a stack, with the stack's certificate for it,
// and waits until it says where it listens.
func serve(policies, xds, web string, more ...string) (*process, error) {
	return serveAs(ownFiles(policies), policies, xds, web, more...)
}

// ownFiles are the flags of the stack's certificate for the control plane.
func ownFiles(policies string) []string {
	own := demo.ControlPlaneCertificate(filepath.Dir(policies))
	return []string{"--certificate", own.Certificate, "--key", own.Key, "--ca", own.Authorities}
}

// serveAs is serve with another certificate.
func serveAs(identity []string, policies, xds, web string, more ...string) (*process, error) {
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(binary, slices.Concat([]string{
		"serve", "--policies", policies, "--xds", xds, "--http", web, "--log-format", "json",
	}, identity, more)...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return p, err
	}
	if err := p.cmd.Start(); err != nil {
		return p, err
	}
	listening := make(chan struct{})
	go p.read(stderr, listening)
	select {
	case <-listening:
		return p, nil
	case <-p.done:
		return p, fmt.Errorf("sallyport serve ended: %s", p.log.tail(20))
	case <-time.After(20 * time.Second):
		return p, fmt.Errorf("sallyport serve does not say where it listens: %s", p.log.tail(20))
	}
}

func (p *process) read(stderr io.Reader, listening chan struct{}) {
	defer close(p.done)
	where := regexp.MustCompile(`xDS: (\S+), status: http://([^/]+)/`)
	scanner := bufio.NewScanner(stderr)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.log.add(scanner.Text())
		if m := where.FindStringSubmatch(scanner.Text()); m != nil && !p.xds.IsValid() {
			p.xds, p.http = netip.MustParseAddrPort(m[1]), netip.MustParseAddrPort(m[2])
			close(listening)
		}
	}
	_ = p.cmd.Wait() // how it ended is not what is tested
}

func (p *process) XDS() netip.AddrPort { return p.xds }

func (p *process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		p.kill()
		return fmt.Errorf("sallyport serve did not end within 10 s of SIGTERM")
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

func (l *lines) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all[max(0, len(l.all)-n):], "\n")
}

func (l *lines) contain(s string) bool { return strings.Contains(l.tail(1<<30), s) }

// get fetches a page of the control plane's HTTP side.
func (p *process) get(t require.TestingT, path string) (int, string) {
	response, err := http.Get("http://" + p.http.String() + path)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// flow waits for the gateway's line about a connection that began after a
// moment. Lines come a moment late, so earlier ones may still be arriving.
func (r *rig) flow(since time.Time, match func(flows.Flow) bool) (flows.Flow, error) {
	return r.log.Wait(r.ctx, 0, func(f flows.Flow) bool {
		return !f.Time.Before(since.Truncate(time.Microsecond)) && match(f)
	})
}

// reaches asserts that the workload gets the host's page; refuses that it is
// refused and leaves no trace.
func (r *rig) reaches(who, host string) {
	r.t.Helper()
	got := r.Workload(who).Get(r.ctx, host, "/")
	require.Equal(r.t, lab.Answered, got.Outcome, "%s → %s: %s", who, host, got)
	require.Equal(r.t, lab.Title(host), got.Title)
	require.Equal(r.t, host, got.ServerName)
}

func (r *rig) refused(who, host string) {
	r.t.Helper()
	queries, accepted := len(r.Internet.DNS.Queries(host)), r.Internet.Accepted()
	got := r.Workload(who).Get(r.ctx, host, "/")
	require.Equal(r.t, lab.Refused, got.Outcome, "%s → %s: %s", who, host, got)
	require.Len(r.t, r.Internet.DNS.Queries(host), queries, "a refused connection asked DNS for %s", host)
	require.Equal(r.t, accepted, r.Internet.Accepted(), "a refused connection reached a server")
}

// becomes waits until an edit is enforced: until the workload's attempt at the
// host ends in the outcome.
func (r *rig) becomes(outcome lab.Outcome, who, host string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return r.Workload(who).Get(r.ctx, host, "/").Outcome == outcome
	}, 10*time.Second, 5*time.Millisecond, "%s → %s never becomes %s", who, host, outcome)
}

// write replaces a policy file.
func (r *rig) write(name, content string) {
	r.t.Helper()
	require.NoError(r.t, r.Write(name, content))
}

// allow is a policy with one Allow rule for a service account and hosts.
func allow(name, serviceAccount string, hosts ...string) string {
	return egressPolicy(name, "Allow", serviceAccount, hosts...)
}

func egressPolicy(name, action, serviceAccount string, hosts ...string) string {
	from := ""
	if serviceAccount != "" {
		from = fmt.Sprintf("\n    from: [{serviceAccount: %s}]", serviceAccount)
	}
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: %s, namespace: default}
spec:
  rules:
  - action: %s%s
    to: [{hosts: ["%s"]}]
`, name, action, from, strings.Join(hosts, `", "`))
}
