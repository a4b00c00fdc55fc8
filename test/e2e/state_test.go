package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// stateful is a rig whose control plane has a --state, and is killed and started
// again.
type stateful struct {
	*rig
	dir string
}

// startStateful returns when the policy is in force and kept.
func startStateful(t *testing.T) *stateful {
	t.Helper()
	r := &stateful{rig: start(t, nil), dir: filepath.Join(t.TempDir(), "state")}
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	r.becomes(lab.Answered, us, en)
	r.control.kill()
	r.restart()
	r.isKept()
	return r
}

// restart starts the control plane, after it was killed, at the address that the
// gateway knows.
func (r *stateful) restart() {
	r.t.Helper()
	again, err := serve(r.Policies, r.control.xds.String(), "127.0.0.1:0", "--state", r.dir)
	require.NoError(r.t, err)
	r.control, r.Control = again, again
	require.Eventually(r.t, r.connected, 10*time.Second, 20*time.Millisecond)
}

// newGateway replaces the gateway by one that knows nothing.
func (r *stateful) newGateway() {
	r.t.Helper()
	require.NoError(r.t, r.Gateway.Kill())
	require.NoError(r.t, r.StartGateway(r.ctx))
}

// keptStatus is what the control plane's status says of it.
type keptStatus struct {
	Ready  bool
	Digest string
	Errors []any
	Kept   struct {
		At            time.Time
		Digest, Error string
		InForce       bool
	}
	Groups []struct{ Versions map[string]string }
	Nodes  []struct{ ID string }
}

func (r *stateful) status() keptStatus {
	r.t.Helper()
	code, body := r.control.get(r.t, "/status")
	require.Equal(r.t, http.StatusOK, code)
	var s keptStatus
	require.NoError(r.t, json.Unmarshal([]byte(body), &s))
	return s
}

// eventually waits for a status.
func (r *stateful) eventually(what string, is func(keptStatus) bool) keptStatus {
	r.t.Helper()
	var last keptStatus
	require.Eventually(r.t, func() bool { last = r.status(); return is(last) }, 15*time.Second, 20*time.Millisecond, what)
	return last
}

// isKept waits until the directory is in force and on disk.
func (r *stateful) isKept() keptStatus {
	r.t.Helper()
	return r.eventually("the policy is kept", func(s keptStatus) bool {
		return s.Ready && len(s.Errors) == 0 && !s.Kept.InForce && s.Kept.Digest == s.Digest && s.Kept.Error == ""
	})
}

// servesKept waits until what was kept is in force and the gateway is there.
func (r *stateful) servesKept() keptStatus {
	r.t.Helper()
	return r.eventually("the kept policy is served", func(s keptStatus) bool {
		return s.Ready && len(s.Errors) > 0 && s.Kept.InForce && len(s.Nodes) == 1
	})
}

// brokenAllow is what allow.yaml becomes: its sixth line is wrong.
func brokenAllow() string {
	return strings.Replace(allow("wikipedia", us, de), "action: Allow", "acton: Allow", 1)
}

// TestLastGoodOnDisk: a control plane that starts with a broken directory serves
// the last good policy, to gateways that have it already without a word.
func TestLastGoodOnDisk(t *testing.T) {
	r := startStateful(t)
	conn := r.open(us, en, lab.Active)
	before, updates := r.status(), r.updates()
	r.control.kill()
	r.write("allow.yaml", brokenAllow())
	r.restart()
	after := r.servesKept()
	require.Equal(t, before.Groups, after.Groups)
	require.Equal(t, before.Digest, after.Digest)
	require.True(t, before.Kept.At.Equal(after.Kept.At))
	require.Contains(t, strings.Join(r.errors(), "\n"), "allow.yaml:6:")
	require.True(t, r.control.log.contain("so the policy that was kept is, as it was on"))
	code, body := r.control.get(t, "/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "allow.yaml:6:")
	time.Sleep(300 * time.Millisecond) // what would be sent would be by now
	require.Equal(t, updates, r.updates(), "the restart sent the gateway something")
	r.alive(conn)

	r.newGateway()
	r.reaches(us, en)
	r.refused(us, de)

	r.write("allow.yaml", allow("wikipedia", us, de))
	r.becomes(lab.Answered, us, de)
	r.refused(us, en)
	require.True(t, r.isKept().Kept.At.After(before.Kept.At))
}

// TestLastGoodWithoutADirectory: also if there is none.
func TestLastGoodWithoutADirectory(t *testing.T) {
	r := startStateful(t)
	updates := r.updates()
	r.control.kill()
	aside := filepath.Join(r.Dir, "aside")
	require.NoError(t, os.Rename(r.Policies, aside))
	r.restart()
	r.servesKept()
	require.Equal(t, updates, r.updates())
	r.newGateway()
	r.reaches(us, en)
	r.refused(us, de)
	require.NoError(t, os.Rename(aside, r.Policies))
	r.isKept()
	r.reaches(us, en)
}

// TestLastGoodHasExpired: a grant that ran out while nobody was there to see it
// does not come back.
func TestLastGoodHasExpired(t *testing.T) {
	r := startStateful(t)
	end := time.Now().Add(3 * time.Second)
	r.write("grant.yaml", strings.Replace(allow("grant", us, es), "spec:\n", fmt.Sprintf("spec:\n  expires: %s\n", end.UTC().Format(time.RFC3339Nano)), 1))
	r.becomes(lab.Answered, us, es)
	require.True(t, time.Now().Before(end))
	r.isKept()
	r.control.kill()
	r.write("allow.yaml", brokenAllow())
	time.Sleep(time.Until(end))
	r.restart()
	r.servesKept()
	r.becomes(lab.Refused, us, es)
	r.reaches(us, en)
	r.newGateway()
	r.refused(us, es)
	r.reaches(us, en)
}

// TestLastGoodIsDamaged: it is not used, gateways keep what they have, and it is
// replaced once the directory is good.
func TestLastGoodIsDamaged(t *testing.T) {
	r := startStateful(t)
	updates := r.updates()
	r.control.kill()
	file := filepath.Join(r.dir, "last-good.tar")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), en)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(data), en, fr, 1)), 0o600))
	r.write("allow.yaml", brokenAllow())
	r.restart()
	status := r.eventually("an error", func(s keptStatus) bool { return len(s.Errors) > 0 })
	require.False(t, status.Ready)
	require.Contains(t, status.Kept.Error, file+" is damaged")
	require.True(t, r.control.log.contain("is damaged: it was cut short or changed"))
	code, body := r.control.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "allow.yaml:6:")
	r.reaches(us, en)
	r.refused(us, fr)
	require.Equal(t, updates, r.updates())

	r.write("allow.yaml", allow("wikipedia", us, de))
	r.becomes(lab.Answered, us, de)
	r.isKept()
}
