package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
)

// replicas are control planes behind one address.
type replicas struct {
	*wire
	all []*process
}

// XDS implements demo.ControlPlane.
func (r *replicas) XDS() netip.AddrPort { return r.address() }

// Stop implements demo.ControlPlane.
func (r *replicas) Stop() error {
	var errs []error
	for _, p := range r.all {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// at waits until the gateway is connected to a replica and has all that it serves.
func (r *rig) at(p *process) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		_, metrics := p.get(r.t, "/metrics")
		return strings.Contains(metrics, `sallyport_gateways_current{group="egress"} 1`) && r.connected()
	}, 15*time.Second, 10*time.Millisecond, "the gateway does not come to the replica")
}

// TestGatewayMovesBetweenReplicas: a real gateway goes from one replica to
// another, which has the directory elsewhere and came to it in another way. It is
// not told anything, and no connection is lost.
func TestGatewayMovesBetweenReplicas(t *testing.T) {
	both := &replicas{wire: newWire(t)}
	r := rigWith(t, 2*time.Minute, func(o *demo.Options) {
		start := o.StartControl
		o.StartControl = func(ctx context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			first, err := start(ctx, policies, own)
			if err != nil {
				return nil, err
			}
			both.all = append(both.all, first.(*process))
			both.lead(first.XDS())
			return both, nil
		}
	})
	first := both.all[0]
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", allow("wikipedia", us, en, es))
	// What the first has been through leaves clusters behind that nothing uses.
	for i := range 5 {
		r.write("passing.yaml", allow("passing", us, fmt.Sprintf("p%d.example.com", i)))
		r.Internet.DNS.Set(fmt.Sprintf("p%d.example.com", i), time.Second, r.Internet.Addresses()[0])
		time.Sleep(50 * time.Millisecond)
	}
	require.NoError(t, r.Remove("passing.yaml"))
	r.becomes(lab.Answered, us, es)
	r.at(first)

	elsewhere := filepath.Join(r.Dir, "elsewhere", "policies")
	require.NoError(t, os.MkdirAll(elsewhere, 0o755))
	copyFiles := func(names ...string) {
		t.Helper()
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(r.Policies, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(elsewhere, name), content, 0o600))
			long := time.Now().Add(-time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(elsewhere, name), long, long))
		}
	}
	copyFiles("wikipedia.yaml", "allow.yaml", "gateway.yaml")
	require.NoError(t, os.Symlink(filepath.Join(r.Dir, "certs"), filepath.Join(r.Dir, "elsewhere", "certs")))
	second, err := serve(elsewhere, "127.0.0.1:0", "127.0.0.1:0")
	require.NoError(t, err)
	both.all = append(both.all, second)

	kept := []*lab.Conn{r.open(us, en, lab.Active), r.open(us, en, lab.Idle), r.open(us, es, lab.HalfOpen)}
	before := r.updates()
	for range 3 {
		for _, p := range []*process{second, first} {
			both.lead(p.XDS())
			r.at(p)
			time.Sleep(200 * time.Millisecond) // what would be sent would be by now
			require.Equal(t, before, r.updates(), "the move sent the gateway something")
		}
	}
	r.alive(kept...)

	// An edit that reached the second alone is in force for who is there, and
	// back to what the first says for who returns: gateways go by their replica.
	both.lead(second.XDS())
	r.at(second)
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "allow.yaml"), []byte(allow("wikipedia", us, en, es, fr)), 0o600))
	r.becomes(lab.Answered, us, fr)
	both.lead(first.XDS())
	r.becomes(lab.Refused, us, fr)
	r.write("allow.yaml", allow("wikipedia", us, en, es, fr))
	r.becomes(lab.Answered, us, fr)

	// A replica dies, and the gateway finds the other.
	before = r.updates()
	first.kill()
	both.lead(second.XDS())
	r.at(second)
	time.Sleep(200 * time.Millisecond)
	require.Equal(t, before, r.updates())
	r.alive(kept...)
}

// TestKilledInTheMiddleOfAPush: `kill -9` at any moment after an edit, also while
// the gateway is being sent it. Traffic goes on, the edit is in force soon after the
// return, and a restart after that sends nothing.
func TestKilledInTheMiddleOfAPush(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", allow("wikipedia", us, en))
	const hosts = 400
	many := func(edit int) string {
		var names []string
		for i := range hosts {
			names = append(names, fmt.Sprintf("h%d.e%d.example.com", i, edit))
		}
		return allow("many", us, names...)
	}
	r.write("many.yaml", many(0))
	r.becomes(lab.Answered, us, en)
	conn := r.open(us, en, lab.Active)
	again := func() {
		t.Helper()
		p, err := serve(r.Policies, r.control.xds.String(), "127.0.0.1:0")
		require.NoError(t, err)
		r.control, r.Control = p, p
		r.at(p)
	}
	middle := 0
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404: moments, not secrets
	for edit := 1; edit <= 6; edit++ {
		was := r.updates()["listener_manager.listener_added"]
		r.write("many.yaml", many(edit))
		r.write("allow.yaml", allow("wikipedia", us, en, []string{es, de}[edit%2]))
		if edit%2 == 0 {
			time.Sleep(time.Duration(10+random.IntN(120)) * time.Millisecond)
		} else {
			require.Eventually(t, func() bool { return r.updates()["listener_manager.listener_added"] > was }, 10*time.Second, time.Millisecond)
		}
		r.control.kill()
		r.alive(conn)
		r.reaches(us, en)
		cut := r.updates()["listener_manager.listener_added"]
		again()
		if cut > was && r.updates()["listener_manager.listener_added"] > cut {
			middle++
		}
		r.reaches(us, []string{es, de}[edit%2])
		r.refused(us, []string{de, es}[edit%2])
		r.alive(conn)

		settled := r.updates()
		r.control.kill()
		again()
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, settled, r.updates(), "a restart with nothing changed sent the gateway something")
	}
	require.Positive(t, middle, "no kill was in the middle of anything")
	t.Logf("%d of 6 kills came in the middle of a push", middle)
	r.alive(conn)
}
