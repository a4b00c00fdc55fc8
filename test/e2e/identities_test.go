package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// TestIdentitiesNeverMix: many workloads at once, and many that give up half
// way, through both entries. Envoy pools the connections between the stages;
// one that was left over must never be given to somebody else, with the
// identity of whom it was made for. (With a filter state that the pool does not
// tell apart, it was: see docs/envoy.md.)
func TestIdentitiesNeverMix(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.write("canada.yaml", allow("canada", canada, fr))
	r.becomes(lab.Answered, us, en)
	r.becomes(lab.Answered, canada, fr)

	// 127.0.0.2 is sleep-us at the TLS entry, every other source nobody.
	raw := func(source, host string, giveUp bool) lab.Outcome {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := dialer.DialContext(r.ctx, "tcp", r.TLS.String())
		if err != nil {
			return lab.Failed
		}
		defer conn.Close()
		if giveUp {
			return lab.Refused
		}
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return lab.Failed
		}
		return lab.OfHandshake(tls.Client(conn, &tls.Config{ServerName: host, RootCAs: r.Internet.Root.Pool()}).HandshakeContext(r.ctx))
	}
	mutual := func(id string) func(string) lab.Outcome {
		w := r.direct(id)
		return func(host string) lab.Outcome { return w.Get(r.ctx, host, "/").Outcome }
	}
	asUS, asCanada := mutual(demo.WorkloadID(us)), mutual(demo.WorkloadID(canada))
	attempts := []struct {
		name string
		do   func() lab.Outcome
		want lab.Outcome
	}{
		{"us → en, mutual TLS", func() lab.Outcome { return asUS(en) }, lab.Answered},
		{"nobody → en", func() lab.Outcome { return raw("127.0.0.3", en, false) }, lab.Refused},
		{"canada → en, mutual TLS", func() lab.Outcome { return asCanada(en) }, lab.Refused},
		{"us gives up", func() lab.Outcome { return raw("127.0.0.2", en, true) }, lab.Refused},
		{"nobody → fr", func() lab.Outcome { return raw("127.0.0.1", fr, false) }, lab.Refused},
		{"us → en", func() lab.Outcome { return raw("127.0.0.2", en, false) }, lab.Answered},
		{"us → fr, mutual TLS", func() lab.Outcome { return asUS(fr) }, lab.Refused},
		{"canada → fr, mutual TLS", func() lab.Outcome { return asCanada(fr) }, lab.Answered},
	}
	var workers sync.WaitGroup
	wrong := make(chan string, 4096)
	for range 8 {
		workers.Go(func() {
			for i := range 60 {
				a := attempts[i%len(attempts)]
				if got := a.do(); got != a.want {
					wrong <- fmt.Sprintf("%s: %s, not %s", a.name, got, a.want)
				}
			}
		})
	}
	workers.Wait()
	close(wrong)
	count := map[string]int{}
	for w := range wrong {
		count[w]++
	}
	require.Empty(t, count)
}
