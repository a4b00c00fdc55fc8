package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// memory is what the gateway has allocated, in bytes.
func (r *rig) memory() uint64 {
	r.t.Helper()
	admin, err := r.Gateway.Admin(r.ctx)
	require.NoError(r.t, err)
	stats, err := admin.Stats(r.ctx, `^server\.memory_allocated$`)
	require.NoError(r.t, err)
	return stats["server.memory_allocated"]
}

// flood opens connections to invented names under a wildcard, and returns how many
// were answered. Half of the names do not exist.
func (r *rig) flood(suffix string, names int) int64 {
	r.t.Helper()
	var answered atomic.Int64
	var workers sync.WaitGroup
	next := make(chan int)
	for range 16 {
		workers.Go(func() {
			for i := range next {
				conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(r.ctx, "tcp", r.TLS.String())
				if err != nil {
					r.t.Error(err)
					continue
				}
				name := fmt.Sprintf("r%d.%s", i, suffix)
				if i%2 == 1 {
					name = fmt.Sprintf("r%d.nowhere.%s", i, suffix)
				}
				if b, _ := lab.Answer(r.ctx, conn, lab.Hello{ServerName: []byte(name)}.Bytes()); len(b) > 0 {
					answered.Add(1)
				}
				_ = conn.Close()
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	return answered.Load()
}

// TestRandomNamesUnderAWildcard: a workload that may reach *.flood.example asks for
// 5,000 names below it that it made up. The gateway's memory stays within what its
// limits allow, and other hosts, of others and of its own, are reached all the while.
func TestRandomNamesUnderAWildcard(t *testing.T) {
	const suffix, names = "flood.example", 5000
	sites := append(lab.Wikipedia(), lab.Site{Name: "flood", Hosts: []string{"*." + suffix}})
	for _, tc := range []struct {
		name   string
		limits string
		// least is how many of the names that exist are answered.
		least int64
	}{
		{"within the default limit of hosts", "", names / 2},
		{"above the limit of hosts", "  limits: {hosts: 1000}\n", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, sites...)
			r.Internet.DNS.Set("*.nowhere."+suffix, time.Second) // it exists, and has no address
			r.write("gateway.yaml", r.GatewayDocument()+tc.limits)
			r.write("hosts.yaml", r.Destination("hosts", "", "*.wikipedia.org", "*."+suffix))
			r.write("allow.yaml", allow("all", us, en, de, "*."+suffix))
			r.write("canada.yaml", allow("canada", canada, fr, es))
			r.becomes(lab.Answered, us, en)
			r.becomes(lab.Answered, canada, fr)
			kept := r.open(canada, fr, lab.Active)
			before := r.memory()

			stop := make(chan struct{})
			var meanwhile sync.WaitGroup
			var asked, lost int
			meanwhile.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(50 * time.Millisecond):
					}
					for who, host := range map[string]string{us: en, canada: fr} {
						asked++
						if got := r.Workload(who).Get(r.ctx, host, "/"); got.Outcome != lab.Answered {
							lost++
							t.Errorf("%s → %s: %s", who, host, got)
						}
					}
				}
			})
			began := time.Now()
			answered := r.flood(suffix, names)
			took := time.Since(began)
			close(stop)
			meanwhile.Wait()
			require.GreaterOrEqual(t, answered, tc.least)
			require.Positive(t, asked)
			require.Zero(t, lost)
			r.alive(kept)
			after := r.memory()
			t.Logf("%d names in %s, %d answered; %d other requests meanwhile; %d MB before, %d MB after", names, took.Round(time.Millisecond), answered, asked, before>>20, after>>20)
			require.Less(t, after, before+64<<20, "the gateway's memory")

			// Names that the flood did not push out, and one that was never asked for.
			r.reaches(us, en)
			r.reaches(canada, fr)
			for who, host := range map[string]string{us: de, canada: es} {
				got := r.Workload(who).Get(r.ctx, host, "/")
				require.Equal(t, lab.Answered, got.Outcome, "%s → %s, which nobody asked for before: the flood is of wildcards' names only", who, host)
			}
			_, metrics := r.control.get(t, "/metrics")
			require.True(t, strings.Contains(metrics, "sallyport_gateways"))
		})
	}
}
