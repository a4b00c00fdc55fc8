package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/lab"
)

// updates counts what the gateway has been sent.
func (r *rig) updates() map[string]uint64 {
	r.t.Helper()
	admin, err := r.Gateway.Admin(r.ctx)
	require.NoError(r.t, err)
	stats, err := admin.Stats(r.ctx, `^(listener_manager\.(lds\.update_(success|rejected|attempt)|listener_(added|modified|removed))|cluster_manager\.(cds\.update_(success|rejected)|cluster_(added|modified|removed)))$`)
	require.NoError(r.t, err)
	delete(stats, "listener_manager.lds.update_attempt") // counts reconnections
	return stats
}

func (r *rig) connected() bool {
	admin, err := r.Gateway.Admin(r.ctx)
	require.NoError(r.t, err)
	stats, err := admin.Stats(r.ctx, `^control_plane\.connected_state$`)
	require.NoError(r.t, err)
	return stats["control_plane.connected_state"] == 1
}

// TestControlPlaneKilled: without it, traffic goes on; its return is not felt
// (J).
func TestControlPlaneKilled(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en, es))
	r.becomes(lab.Answered, us, en)
	conn := r.open(us, en, lab.Active)
	before := r.updates()

	r.control.kill()
	require.Eventually(t, func() bool { return !r.connected() }, 10*time.Second, 20*time.Millisecond)
	r.alive(conn)
	r.reaches(us, es)
	r.refused(us, de)

	again, err := serve(r.Policies, r.control.xds.String(), "127.0.0.1:0")
	require.NoError(t, err)
	r.control, r.Control = again, again
	require.Eventually(t, r.connected, 10*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		_, status := again.get(t, "/status")
		return strings.Contains(status, "gateway-1")
	}, 10*time.Second, 20*time.Millisecond)
	r.alive(conn)
	require.Equal(t, before, r.updates(), "the restart sent the gateway something")

	r.write("allow.yaml", allow("wikipedia", us, es, de))
	r.becomes(lab.Answered, us, de)
	r.refused(us, en)
}

// TestGatewayBeforeControlPlane: a gateway without a policy lets nothing
// through, and works soon after the control plane is there (FAULTS 22).
func TestGatewayBeforeControlPlane(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	r.becomes(lab.Answered, us, en)
	r.control.kill()
	require.NoError(t, r.Gateway.Kill())
	address := r.control.xds.String()
	started := make(chan error, 1)
	go func() { started <- r.StartGateway(r.ctx) }()
	for range 20 {
		require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, en, "/").Outcome)
		time.Sleep(20 * time.Millisecond)
	}
	again, err := serve(r.Policies, address, "127.0.0.1:0")
	require.NoError(t, err)
	r.control, r.Control = again, again
	began := time.Now()
	require.NoError(t, <-started)
	require.Eventually(t, func() bool { return r.Workload(us).Get(r.ctx, en, "/").Outcome == lab.Answered },
		5*time.Second, 20*time.Millisecond)
	t.Logf("it worked %s after the control plane was back", time.Since(began))
}

// TestBrokenFiles: what is wrong is said with its place, and enforcement stays
// as it was (K).
func TestBrokenFiles(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	r.becomes(lab.Answered, us, en)
	conn := r.open(us, en, lab.Active)
	before := r.updates()
	good := allow("wikipedia", us, en)
	for _, tc := range []struct{ name, content, place string }{
		{"bad YAML", "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: broken\n", "broken.yaml:"},
		{"unknown field", strings.Replace(good, "action: Allow", "acton: Allow", 1), "broken.yaml:6:"},
		{"unknown action", strings.Replace(good, "action: Allow", "action: Permit", 1), "broken.yaml:6:"},
		{"a failing test", strings.Replace(good, "{name: wikipedia,", "{name: other,", 1) +
			"  tests:\n  - {from: {serviceAccount: sleep-us}, host: de.wikipedia.org, expect: Allow}\n", "broken.yaml:10:"},
		{"a duplicate policy", good, "broken.yaml:"},
		{"an alias bomb", "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n", "broken.yaml:1:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.write("broken.yaml", tc.content)
			require.Eventually(t, func() bool { return strings.Contains(strings.Join(r.errors(), "\n"), tc.place) },
				10*time.Second, 10*time.Millisecond, "the status does not name %s", tc.place)
			require.True(t, r.control.log.contain(`"broken.yaml"`) || r.control.log.contain("broken.yaml:"), "the log does not name the file")
			r.reaches(us, en)
			r.refused(us, de)
			require.Equal(t, before, r.updates())
			require.NoError(t, r.Remove("broken.yaml"))
			require.Eventually(t, func() bool { return len(r.errors()) == 0 }, 10*time.Second, 10*time.Millisecond)
		})
	}
	t.Run("an emptied directory", func(t *testing.T) {
		aside := filepath.Join(r.Dir, "aside")
		require.NoError(t, os.Rename(r.Policies, aside))
		require.Eventually(t, func() bool { return len(r.errors()) > 0 }, 15*time.Second, 50*time.Millisecond)
		r.reaches(us, en)
		require.NoError(t, os.Rename(aside, r.Policies))
		require.Eventually(t, func() bool { return len(r.errors()) == 0 }, 15*time.Second, 50*time.Millisecond)
	})
	r.alive(conn)
	require.Equal(t, before, r.updates())
	r.write("allow.yaml", allow("wikipedia", us, de))
	r.becomes(lab.Answered, us, de)
}

// errors are what the control plane's status says is wrong, as it would be
// shown: file:line:col: error: …
func (r *rig) errors() []string {
	r.t.Helper()
	code, body := r.control.get(r.t, "/status")
	require.Equal(r.t, 200, code)
	var status struct {
		Errors []struct {
			Position diag.Position
			Message  string
		}
	}
	require.NoError(r.t, json.Unmarshal([]byte(body), &status))
	var out []string
	for _, e := range status.Errors {
		out = append(out, e.Position.String()+": "+e.Message)
	}
	return out
}
