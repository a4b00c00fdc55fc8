//go:build soak

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/test/fleet"
)

const (
	keptHosts = 200
	keptFiles = 20
	// spareGroup is of a real Envoy that is killed and started again and again.
	spareGroup = "spare"
	spareID    = "spiffe://" + demo.TrustDomain + "/ns/istio-system/sa/spare"
	// enforcedWithin is the bound for a revocation: new connections refused, and
	// those that were open closed.
	enforcedWithin = 2 * time.Second
	// convergesWithin is the bound for an edit: all gateways have it.
	convergesWithin = 5 * time.Second
)

// soak is an hour of churn.
type soak struct {
	*rig
	gateways []*envoy.Process // three, that live to the end
	fleet    *lightFleet
	report   *soakReport
	random   *rand.Rand
	spare    *lab.Port
	length   time.Duration
}

// number is an environment variable that says how much.
func number[N any](t *testing.T, name string, parse func(string) (N, error), otherwise N) N {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	n, err := parse(value)
	require.NoError(t, err, name)
	return n
}

// TestSoakChurn: an edit a second for SOAKTIME, while gateways, files and
// certificates come and go. A thousand gateways that speak ADS alone, and three real
// Envoys with connections to hosts that no edit touches: none of those is lost, every
// edit comes to all, every revocation is enforced in time, and in the end nothing has
// grown.
func TestSoakChurn(t *testing.T) {
	length := number(t, "SOAKTIME", time.ParseDuration, time.Hour)
	count := number(t, "SOAKGATEWAYS", strconv.Atoi, 1000)
	s := &soak{length: length, random: rand.New(rand.NewPCG(7, 11)), report: newSoakReport(length, count)} // #nosec G404: for variety
	s.rig = rigWith(t, length+15*time.Minute, func(o *demo.Options) {
		o.Sites = append(lab.Wikipedia(), lab.Site{Name: "kept", Hosts: []string{"*.kept.example"}}, lab.Site{Name: "churn", Hosts: []string{"*.churn.example"}})
		o.AccessLog = func(string) {} // an hour of it is not to be kept
	})
	s.furnish()
	s.gateways = []*envoy.Process{s.Gateway, s.anotherOfGroup("gateway-2"), s.anotherOfGroup("gateway-3")}
	t.Logf("connecting %d gateways", count)
	s.fleet = newLightFleet(s, count)
	defer s.fleet.close()
	require.True(t, s.fleet.agree(2*time.Minute, ""), "the gateways do not come to have the same")

	ctx, cancel := context.WithTimeout(s.ctx, length)
	defer cancel()
	kept := s.openKept()
	var all sync.WaitGroup
	for name, run := range map[string]func(context.Context){
		"gateways": s.fleet.churn, "certificates": s.rotate, "spare": s.restart, "samples": s.sample,
	} {
		all.Go(func() {
			run(ctx)
			t.Logf("%s: done", name)
		})
	}
	s.edit(ctx)
	cancel()
	all.Wait()
	s.report.kept(kept)
	s.finish()
}

// furnish writes what no edit touches, and what they do to begin with.
func (s *soak) furnish() {
	s.write("hosts.yaml", s.Destination("hosts", "", "*.kept.example", "*.churn.example"))
	for f := range keptFiles {
		var hosts []string
		for h := range keptHosts / keptFiles {
			hosts = append(hosts, keptHost(f*keptHosts/keptFiles+h))
		}
		s.write(fmt.Sprintf("kept-%d.yaml", f), allow(fmt.Sprintf("kept-%d", f), us, hosts...))
	}
	s.write("canada.yaml", allow("canada", canada, keptHost(0), keptHost(1)))
	port, err := lab.ReservePort()
	require.NoError(s.t, err)
	s.spare = port
	s.t.Cleanup(func() { _ = port.Close() })
	document := s.GatewayDocument()
	document = replaceAll(document, map[string]string{
		"metadata: {name: " + demo.Group + "}":      "metadata: {name: " + spareGroup + "}",
		fmt.Sprintf("port: %d", s.MutualTLS.Port()): fmt.Sprintf("port: %d", port.Address().Port()),
		demo.GatewayID: spareID,
	})
	// It has one listener.
	document = withoutLine(document, "name: tls")
	s.write("spare.yaml", document)
	s.becomes(lab.Answered, us, keptHost(keptHosts-1))
}

func keptHost(n int) string { return fmt.Sprintf("h%d.kept.example", n) }

// anotherOfGroup is one more gateway at the same ports.
func (s *soak) anotherOfGroup(id string) *envoy.Process {
	s.t.Helper()
	p := s.startEnvoy(id, demo.Group, s.Certificates("gateway"))
	require.NoError(s.t, p.Ready(s.ctx))
	return p
}

func (s *soak) startEnvoy(id, group string, certificates envoy.Certificates) *envoy.Process {
	s.t.Helper()
	bundle, err := envoy.Gateway(envoy.GatewayOptions{
		Dir: s.t.TempDir(), ID: id, Group: group, ControlPlane: s.Control.XDS().String(), ControlPlaneID: demo.ControlPlaneID,
		Admin: "127.0.0.1:0", Certificates: certificates,
	})
	require.NoError(s.t, err)
	require.NoError(s.t, bundle.Write())
	p, err := envoy.Start(s.ctx, envoy.ProcessOptions{Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = p.Stop(3 * time.Second) })
	return p
}

// steady is a connection that must live to the end.
type steady struct {
	host  string
	every time.Duration
	conn  *tls.Conn
	stop  chan struct{}
	done  chan struct{}
	// echoes and err are valid once done is closed.
	echoes int
	err    error
}

// openKept opens connections to hosts that no edit touches, through all gateways:
// such as speak every second, and such as are idle nearly all the time.
func (s *soak) openKept() []*steady {
	s.t.Helper()
	var all []*steady
	add := func(conn *tls.Conn, err error, host string, every time.Duration) {
		require.NoError(s.t, err, host)
		k := &steady{host: host, every: every, conn: conn, stop: make(chan struct{}), done: make(chan struct{})}
		go k.run()
		all = append(all, k)
	}
	w := s.direct(demo.WorkloadID(us))
	for n := range 48 {
		every := time.Second
		if n%4 == 3 {
			every = max(s.length/10, 10*time.Second)
		}
		conn, err := w.DialTLS(s.ctx, keptHost(n), keptHost(n), lab.EchoProtocol)
		add(conn, err, keptHost(n), every)
	}
	for n := range 8 {
		conn, err := s.Workload(us).DialTLS(s.ctx, keptHost(n), lab.EchoProtocol)
		add(conn, err, keptHost(n), time.Second)
	}
	conn, err := s.Workload(canada).DialTLS(s.ctx, keptHost(1), lab.EchoProtocol)
	add(conn, err, keptHost(1), time.Second)
	return all
}

func (k *steady) run() {
	defer close(k.done)
	defer k.conn.NetConn().Close()
	answer := make([]byte, 1)
	for {
		if k.err = k.conn.SetDeadline(time.Now().Add(30 * time.Second)); k.err != nil {
			return
		}
		if _, k.err = k.conn.Write([]byte("?")); k.err != nil {
			return
		}
		if _, k.err = k.conn.Read(answer); k.err != nil {
			return
		}
		k.echoes++
		select {
		case <-k.stop:
			return
		case <-time.After(k.every):
		}
	}
}

// end says how often it was answered, and why it ended before it was told to.
func (k *steady) end() (int, error) {
	close(k.stop)
	<-k.done
	return k.echoes, k.err
}

// every calls do at an interval until the context ends.
func every(ctx context.Context, interval time.Duration, do func(n int)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(n)
		}
	}
}

// rotate replaces certificates, now and then by one that is broken first.
func (s *soak) rotate(ctx context.Context) {
	every(ctx, clamp(s.length/60, 2*time.Second, 20*time.Second), func(n int) {
		name, what := "control-plane", ca.Gateway(demo.ControlPlaneID)
		switch n % 4 {
		case 1, 3:
			name, what = "gateway", ca.Gateway(demo.GatewayID)
			what.Addresses = s.addressesOfGateway()
		case 2:
			name, what = us, ca.Workload(demo.WorkloadID(us))
		}
		if n%8 == 0 {
			own := s.ControlPlaneCertificate()
			if err := os.WriteFile(own.Certificate, []byte("half of a certif"), 0o600); err != nil {
				s.report.fail("certificates: %v", err)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		if _, err := s.CA.IssueFile(name, what); err != nil {
			s.report.fail("certificates: %v", err)
		}
		s.report.count("certificates replaced")
	})
}

// restart kills a real gateway of another group, and starts it anew: it must work
// within five seconds.
func (s *soak) restart(ctx context.Context) {
	files := s.issued("spare", spareID)
	w := s.direct(demo.WorkloadID(us))
	w.Gateway, w.GatewayID = s.spare.Address().String(), demo.GatewayID
	w.Timeout = 5 * time.Second
	every(ctx, clamp(s.length/20, 15*time.Second, time.Minute), func(n int) {
		began := time.Now()
		p := s.startEnvoy(fmt.Sprintf("spare-%d", n), spareGroup, files)
		defer func() { _ = p.Kill() }()
		for {
			page := w.Get(s.ctx, keptHost(3), "/")
			if page.Outcome == lab.Answered {
				break
			}
			if time.Since(began) > 10*time.Second {
				s.report.fail("a gateway that was started %s ago does not work: %s (live: %v)", time.Since(began), page, live(s.ctx, p))
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		s.report.count("Envoys started and killed")
		s.report.slowest("an Envoy works after its start", time.Since(began))
		time.Sleep(2 * time.Second)
	})
}

// live is what a gateway says of itself.
func live(ctx context.Context, p *envoy.Process) error {
	admin, err := p.Admin(ctx)
	if err != nil {
		return err
	}
	return admin.Ready(ctx)
}

// probes is how often a host is tried for one answer of three gateways that the
// kernel shares connections among.
const probes = 8

// attempt tries a host until the outcome is the same at every attempt, and returns
// when another was last seen.
func (s *soak) attempt(host string, want lab.Outcome, within time.Duration) (last time.Time, other lab.Response, ok bool) {
	w := s.direct(demo.WorkloadID(us))
	w.Timeout = 5 * time.Second
	began := time.Now()
	for same := 0; same < probes; {
		at := time.Now()
		got := w.Get(s.ctx, host, "/")
		if got.Outcome == want {
			same++
			continue
		}
		last, other, same = at, got, 0
		if time.Since(began) > within {
			return last, other, false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return last, other, true
}

// revocation grants a host, opens a connection, and takes the grant back: the
// connection must be closed, and no other be let in, within the bound.
func (s *soak) revocation(n int) {
	host := fmt.Sprintf("probe-%d.churn.example", n)
	s.write("probe.yaml", allow("probe", us, host))
	if _, other, ok := s.attempt(host, lab.Answered, convergesWithin); !ok {
		s.report.fail("%s was granted %s ago: %s", host, convergesWithin, other)
		return
	}
	conn, err := s.direct(demo.WorkloadID(us)).Open(s.ctx, host, lab.Idle)
	if err != nil {
		s.report.fail("%s is granted: %v", host, err)
		return
	}
	defer conn.Close()
	began := time.Now()
	if err := s.Remove("probe.yaml"); err != nil {
		s.report.fail("%v", err)
	}
	last, other, ok := s.attempt(host, lab.Refused, convergesWithin)
	if took := last.Sub(began); !ok || took > enforcedWithin {
		s.report.fail("%s was revoked, and %s later: %s", host, took, other)
	} else {
		s.report.slowest("a revoked host was last reached after", max(took, 0))
	}
	select {
	case <-conn.Ended():
		at, _ := conn.End()
		s.report.slowest("a revoked idle connection was closed after", at.Sub(began))
	case <-time.After(time.Until(began.Add(enforcedWithin + time.Second))):
		s.report.fail("a connection to %s is open %s after it was revoked", host, time.Since(began))
	}
	s.report.count("revocations checked")
}

// dialer is what a light gateway connects with: the gateway's certificate, as it is
// now.
func (s *soak) dialer() *tls.Config {
	config := fleet.ClientTLS(s.CA.Pool())
	files := s.Certificates("gateway")
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		var err error
		for range 20 { // it may be replaced just now: key and certificate are two files
			var pair tls.Certificate
			if pair, err = tls.LoadX509KeyPair(files.Certificate, files.Key); err == nil {
				return &pair, nil
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil, err
	}
	return config
}

// clamp is d, within bounds.
func clamp(d, least, most time.Duration) time.Duration { return max(least, min(d, most)) }

// isTimeout reports whether it was too late, and no refusal.
func isTimeout(err error) bool {
	n, ok := err.(net.Error) //nolint:errorlint // of the connection itself
	return ok && n.Timeout()
}
