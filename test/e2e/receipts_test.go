package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// asked is what `sallyport status` did.
type asked struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// status runs `sallyport status` about the rig's control plane.
func (r *rig) status(args ...string) asked {
	r.t.Helper()
	cmd := exec.CommandContext(r.ctx, binary, append([]string{"status", "--server", "http://" + r.control.http.String()}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(r.t, err)
	}
	return asked{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
}

// secondGateway starts another gateway of the group: it listens at the same ports
// as the first, and the kernel gives each a share of the connections.
func (r *rig) secondGateway() *envoy.Process {
	r.t.Helper()
	bundle, err := envoy.Gateway(envoy.GatewayOptions{
		Dir: filepath.Join(r.Dir, "gateway-2"), ID: "gateway-2", Group: demo.Group,
		ControlPlane: r.Control.XDS().String(), ControlPlaneID: demo.ControlPlaneID, Admin: "127.0.0.1:0",
		Certificates: r.Certificates("gateway"),
	})
	require.NoError(r.t, err)
	require.NoError(r.t, bundle.Write())
	found, err := envoy.Find(r.ctx)
	require.NoError(r.t, err)
	p, err := envoy.Start(r.ctx, envoy.ProcessOptions{
		Binary: found, Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1,
		AccessLog: func(line string) { r.raw.add(line); r.log.Line(line) },
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = p.Stop(3 * time.Second) })
	require.NoError(r.t, p.Ready(r.ctx))
	return p
}

// TestStatusWait: a pipeline that edits the directory and waits finds the edit
// enforced by every gateway, at once; one that does not answer keeps it waiting.
func TestStatusWait(t *testing.T) {
	r := start(t, nil)
	second := r.secondGateway()
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	got := r.status("--wait", "latest", "--at-least", "2")
	require.Zero(t, got.code, got)
	require.Regexp(t, `^generation \d+ is in force on 2 gateways of egress \(first [0-9.]+ ms, last [0-9.]+ ms after the edit\)\n$`, got.stdout)
	require.Empty(t, got.stderr, "progress is for terminals")

	t.Run("an edit and its wait, fifty times", func(t *testing.T) {
		r.reaches(us, en)
		var longest time.Duration
		for i := range 50 {
			hosts, outcome := []string{es}, lab.Refused
			if i%2 == 1 {
				hosts, outcome = []string{en, es}, lab.Answered
			}
			r.write("allow.yaml", allow("wikipedia", us, hosts...))
			args := []string{"--wait", "latest", "--at-least", "2"}
			if i%4 < 2 {
				args = append(args, "--policies", r.Policies)
			}
			got := r.status(args...)
			require.Zero(t, got.code, "%d: %+v", i, got)
			for range 4 { // some through each gateway
				page := r.Workload(us).Get(r.ctx, en, "/")
				require.Equal(t, outcome, page.Outcome, "edit %d is not enforced after the wait: %s", i, page)
			}
			longest = max(longest, got.took)
		}
		t.Logf("the longest wait took %s", longest)
	})

	t.Run("a gateway is stopped", func(t *testing.T) {
		require.NoError(t, syscall.Kill(second.PID(), syscall.SIGSTOP))
		defer func() { _ = syscall.Kill(second.PID(), syscall.SIGCONT) }()
		r.write("allow.yaml", allow("wikipedia", us, de))
		got := r.status("--wait", "latest", "--timeout", "2s")
		require.Equal(t, 1, got.code, got)
		require.Regexp(t, `generation \d+ is not in force everywhere after 2s:\n  gateway-2 of egress has not acknowledged it: 1 generation behind for \d+ s`, got.stderr)
		require.GreaterOrEqual(t, got.took, 2*time.Second)

		shown := r.status()
		require.Zero(t, shown.code)
		require.Regexp(t, `(?m)^egress +\d+ +\S.* +2 +1 +0 +[0-9.]+ ms$`, shown.stdout)
		require.Regexp(t, `(?m)^gateway-2 +egress +1\.40\.0 +127\.0\.0\.1:\d+ +spiffe://\S+ +\d+ +1 generation behind for \d+ s$`, shown.stdout)
		require.Regexp(t, `(?m)^gateway-1 .* current$`, shown.stdout)

		blocked := make(chan asked, 1)
		go func() { blocked <- r.status("--wait", "latest", "-o", "json") }()
		select {
		case got := <-blocked:
			require.Fail(t, "it did not wait", "%+v", got)
		case <-time.After(500 * time.Millisecond):
		}
		require.NoError(t, syscall.Kill(second.PID(), syscall.SIGCONT))
		got = <-blocked
		require.Zero(t, got.code, got)
		require.Contains(t, got.stdout, `"outcome": "enforced"`)
	})

	t.Run("a gateway dies", func(t *testing.T) {
		r.write("allow.yaml", allow("wikipedia", us, fr))
		require.Zero(t, r.status("--wait", "latest").code)
		require.NoError(t, syscall.Kill(second.PID(), syscall.SIGSTOP))
		r.write("allow.yaml", allow("wikipedia", us, es))
		blocked := make(chan asked, 1)
		go func() { blocked <- r.status("--wait", "latest", "--timeout", "3s") }()
		time.Sleep(time.Second)
		_ = second.Kill()
		got := <-blocked
		require.Equal(t, 1, got.code, got)
		require.Contains(t, got.stderr, "gateway-2 of egress is not connected any more, and goes on with what it had")
		require.Zero(t, r.status("--wait", "latest").code, "nobody knows of it any more")
		require.Equal(t, 1, r.status("--wait", "latest", "--at-least", "2", "--timeout", "100ms").code)
	})

	t.Run("a directory that is refused", func(t *testing.T) {
		r.write("broken.yaml", "kind: Nonsense\n")
		for _, args := range [][]string{nil, {"--policies", r.Policies}} {
			got := r.status(append([]string{"--wait", "latest"}, args...)...)
			require.Equal(t, 1, got.code, got)
			require.Contains(t, got.stderr, "broken.yaml:1:")
			require.Less(t, got.took, 10*time.Second, "it says so at once")
		}
		require.Contains(t, r.status().stdout, "broken.yaml:1:")
		require.NoError(t, r.Remove("broken.yaml"))
		require.Zero(t, r.status("--wait", "latest").code)
	})
}

// TestRejectedConfiguration: what a real gateway will not take is traced back to
// the file and line it came from, wherever it is shown.
func TestRejectedConfiguration(t *testing.T) {
	r := httpRig(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	require.Zero(t, r.status("--wait", "latest").code)
	r.reaches(us, en)
	document := r.GatewayDocument()

	for _, tc := range []struct {
		name, file, content string
		good                string // the content that mends it; the file goes if empty
		place, reason       string
	}{
		{
			name: "a port that somebody has", file: "gateway.yaml",
			content: strings.Replace(document, "  listeners:\n", fmt.Sprintf("  listeners:\n  - {name: more, address: 127.0.0.1, port: %d, protocol: MutualTLS}\n", taken.Addr().(*net.TCPAddr).Port), 1),
			good:    document,
			place:   "gateway.yaml:2:7: listener more of EgressGateway egress", reason: "in use",
		},
		{
			name: "a log that cannot be written", file: "gateway.yaml",
			content: document + "  accessLog: {path: /no/such/directory/access.log}\n",
			good:    document,
			place:   "gateway.yaml:2:7: spec.accessLog of EgressGateway egress: /no/such/directory/access.log", reason: "unable to open file",
		},
		{
			name: "authorities that are not there", file: "partner.yaml",
			content: strings.TrimSuffix(r.Destination("partner", "", "partner.example.com"), "\n") + "\n  tls: Originate\n  originate: {roots: /no/such/roots.pem}\n",
			place:   "partner.yaml:", reason: "/no/such/roots.pem",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.write(tc.file, tc.content)
			got := r.status("--wait", "latest")
			require.Equal(t, 3, got.code, "%+v", got)
			require.Contains(t, got.stderr, "gateway-1 of egress rejected its ")
			require.Contains(t, got.stderr, tc.place)
			require.Contains(t, got.stderr, tc.reason)
			shown := r.status()
			require.Contains(t, shown.stdout, tc.place)
			require.Contains(t, shown.stdout, "rejects it, 1 generation behind for ")
			require.True(t, r.control.log.contain(tc.place), "the log does not say it")
			_, page := r.control.get(t, "/status")
			require.Contains(t, page, `"causes"`)
			r.reaches(us, en)
			r.refused(us, de)
			t.Log(got.stderr)
			if tc.good == "" {
				require.NoError(t, r.Remove(tc.file))
			} else {
				r.write(tc.file, tc.good)
			}
			got = r.status("--wait", "latest")
			require.Zero(t, got.code, "%+v", got)
		})
	}
}
