package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/svid"
)

const (
	// rounds is how often the contenders take turns: other things happen on the
	// machine, and so each contender gets its share of them.
	rounds = 7
	// perTurn is how many connections are made in one turn, and atOnce how many
	// of them at a time.
	perTurn = 2_000
	atOnce  = 16
	// message is how many bytes each connection sends and gets back.
	message = 1 << 10
	// idle is how many connections are open for the measurement of memory.
	idle = 2_000
	// bulk is how many bytes a turn sends over each of bulkConns connections,
	// and gets back.
	bulk      = 64 << 20
	bulkConns = 4
	// grants is how many hosts the gateway's policy has beside the origins.
	grants = 1_000
)

// BenchmarkConnection measures what a connection costs the gateway, in
// processor time and in memory, beside other proxies that forward by the server
// name: the same client, the same origins, in turns.
func BenchmarkConnection(b *testing.B) {
	allowManyFiles(b, 8_192)
	g := newConnectionRig(b, func(*demo.Options) {})
	all := contenders(b, g.stack, &g.log)
	g.measure(b, all, rounds)
	t := newTable("proxy", "CPU µs/connection", "lowest", "highest", "KB/idle connection", "echoed MB/CPU s", "resumed")
	for _, c := range all {
		m := g.of(c)
		t.row(c.name, median(m.cpu), slices.Min(m.cpu), slices.Max(m.cpu), m.idle, median(m.echoed),
			fmt.Sprintf("%d%%", 100*m.resumed/(rounds*perTurn)))
		b.Run(strings.ReplaceAll(c.name, ", ", "/"), func(b *testing.B) {
			report(b, "cpu-µs/conn", median(m.cpu))
			report(b, "KB/idle-conn", m.idle)
			report(b, "echoed-MB/cpu-s", median(m.echoed))
		})
	}
	t.print("%d rounds of %d connections, %d at once, each a TLS handshake through the proxy and %d bytes there and back; "+
		"medians of the rounds; the gateway has %d grants, and logs each connection", rounds, perTurn, atOnce, message, grants)
}

// measured is what was measured of a contender, an element for each turn.
type measured struct {
	cpu     []float64 // µs for each connection
	echoed  []float64 // MB for each second of processor time
	idle    float64   // KB for each open connection
	resumed int       // connections whose outer session was resumed
	took    []time.Duration
	beside  usedBeside
}

// usedBeside is the same of the workload's proxy.
type usedBeside struct {
	cpu, echoed []float64
	idle        float64
}

// besides is what the workload's proxy has used, if there is one.
func (c *contender) besides() envoy.Usage {
	if c.beside == nil {
		return envoy.Usage{}
	}
	return c.beside()
}

type connectionRig struct {
	stack  *demo.Stack
	log    tail
	client *tls.Config
	dialer net.Dialer
	found  map[*contender]*measured
}

func newConnectionRig(b *testing.B, change func(*demo.Options)) *connectionRig {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g := &connectionRig{found: make(map[*contender]*measured)}
	options := demo.Options{
		Dir: b.TempDir(), Sites: sites(),
		EnvoyLog: func(_, line string) { _, _ = g.log.Write([]byte(line + "\n")) },
		StartControl: func(_ context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			return serve(b, build(b), policies, own), nil
		},
	}
	change(&options)
	stack, err := demo.Start(ctx, options)
	b.Cleanup(func() { require.NoError(b, stack.Close(), "%s", &g.log) })
	require.NoError(b, err)
	for i, address := range stack.Internet.Addresses() {
		stack.Internet.DNS.Set(site(i), time.Hour, address)
	}
	require.NoError(b, directory{hosts: grants, port: 443}.write(stack.Policies))
	policy := stack.Destination("origins", "", "*."+domain) + "---\n" + fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: origins, namespace: default}
spec:
  rules:
  - action: Allow
    from: [{serviceAccount: %s}]
    to: [{hosts: ["%s"]}]
`, app, strings.Join(siteNames(), `", "`))
	require.NoError(b, os.WriteFile(filepath.Join(stack.Policies, "origins.yaml"), []byte(policy), 0o600))
	prober := newProber(stack.TLS)
	for _, name := range siteNames() {
		prober.watch(b, name, time.Now(), true)
	}
	g.stack, g.dialer = stack, prober.dialer
	g.client = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: stack.Internet.Root.Pool()}
	return g
}

func siteNames() []string {
	var names []string
	for i := range sites() {
		names = append(names, site(i))
	}
	return names
}

func (g *connectionRig) of(c *contender) *measured {
	if g.found[c] == nil {
		g.found[c] = &measured{}
	}
	return g.found[c]
}

// memory measures what open connections cost a process that has done nothing
// much before: allocators do not give back what they had.
func (g *connectionRig) memory(b *testing.B, c *contender) {
	b.Helper()
	if c.fresh != nil {
		c.fresh()
	}
	g.connect(b, c, 50) // for what every process needs once
	before, beside := c.usage().RSS, c.besides().RSS
	var mu sync.Mutex
	var open []net.Conn
	g.many(b, idle, func(i int) error {
		conn, _, err := g.dial(c, site(i%len(sites())))
		if err == nil {
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
		}
		return err
	})
	g.of(c).idle = (float64(c.usage().RSS) - float64(before)) / 1024 / idle
	g.of(c).beside.idle = (float64(c.besides().RSS) - float64(beside)) / 1024 / idle
	for _, conn := range open {
		_ = conn.Close()
	}
	g.settle(b)
}

// measure takes all of them, in turns, for so many rounds, once they have been looked at
// for their memory. More is done in each turn, behind the connections.
func (g *connectionRig) measure(b *testing.B, all []*contender, rounds int, more ...func(*testing.B, *contender)) {
	b.Helper()
	for _, c := range all {
		g.memory(b, c)
	}
	for range rounds {
		for _, c := range all {
			g.turn(b, c)
			for _, do := range more {
				do(b, c)
			}
		}
	}
}

// turn is one turn of a contender in a round.
func (g *connectionRig) turn(b *testing.B, c *contender) {
	b.Helper()
	m := g.of(c)
	before, beside := c.usage().CPU, c.besides().CPU
	m.resumed += g.connect(b, c, perTurn)
	m.cpu = append(m.cpu, float64((c.usage().CPU-before).Microseconds())/perTurn)
	m.beside.cpu = append(m.beside.cpu, float64((c.besides().CPU-beside).Microseconds())/perTurn)

	before, beside = c.usage().CPU, c.besides().CPU
	g.echo(b, c)
	const megabytes = float64(bulk*bulkConns) / 1e6
	m.echoed = append(m.echoed, megabytes/(c.usage().CPU-before).Seconds())
	if c.beside != nil {
		m.beside.echoed = append(m.beside.echoed, megabytes/(c.besides().CPU-beside).Seconds())
	}
}

// connect makes connections one after the other, some at a time, and waits
// until all are closed. It returns how many had their outer session resumed.
func (g *connectionRig) connect(b *testing.B, c *contender, n int) int {
	b.Helper()
	var resumed atomic.Int64
	sent := make([]byte, message)
	_, _ = rand.Read(sent) // it never fails
	g.many(b, n, func(i int) error {
		conn, again, err := g.dial(c, site(i%len(sites())))
		if err != nil {
			return err
		}
		if again {
			resumed.Add(1)
		}
		if _, err := conn.Write(sent); err != nil {
			return errors.Join(err, conn.Close())
		}
		if _, err := io.ReadFull(conn, make([]byte, message)); err != nil {
			return errors.Join(err, conn.Close())
		}
		return conn.Close()
	})
	g.settle(b)
	return int(resumed.Load())
}

// many calls f for the numbers below n, some at a time.
func (g *connectionRig) many(b *testing.B, n int, f func(int) error) {
	b.Helper()
	var next atomic.Int64
	var wait sync.WaitGroup
	failed := make(chan error, atOnce)
	for range atOnce {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wait.Wait()
	close(failed)
	require.NoError(b, <-failed)
}

// dial makes one connection to a host through a contender, and says whether
// its outer session was resumed.
func (g *connectionRig) dial(c *contender, name string) (conn net.Conn, resumed bool, err error) {
	through := c.through
	if through == nil {
		through = func(name string) (net.Conn, bool, error) { return g.tunnel(c, name) }
	}
	raw, resumed, err := through(name)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", c.name, err)
	}
	config := g.client.Clone()
	config.ServerName = name
	inner := tls.Client(raw, config)
	if err := inner.Handshake(); err != nil {
		return nil, false, errors.Join(fmt.Errorf("%s: %s: %w", c.name, name, err), raw.Close())
	}
	return inner, resumed, nil
}

// tunnel connects to a contender, with TLS of its own if it speaks that.
func (g *connectionRig) tunnel(c *contender, name string) (conn net.Conn, resumed bool, err error) {
	raw, err := g.dialer.Dial("tcp", c.address.String())
	if err != nil {
		return nil, false, err
	}
	if err := raw.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, false, errors.Join(err, raw.Close())
	}
	if c.outer == nil {
		return raw, false, nil
	}
	config := c.outer.Clone()
	config.ServerName = name
	outer := tls.Client(raw, config)
	if err := outer.Handshake(); err != nil {
		return nil, false, errors.Join(fmt.Errorf("the proxy: %w", err), raw.Close())
	}
	return outer, outer.ConnectionState().DidResume, nil
}

// echo sends much, and reads it back.
func (g *connectionRig) echo(b *testing.B, c *contender) {
	b.Helper()
	var wait sync.WaitGroup
	failed := make(chan error, 2*bulkConns)
	for i := range bulkConns {
		conn, _, err := g.dial(c, site(i%len(sites())))
		require.NoError(b, err)
		wait.Go(func() {
			chunk := make([]byte, 64<<10)
			for sent := 0; sent < bulk; sent += len(chunk) {
				if _, err := conn.Write(chunk); err != nil {
					failed <- err
					return
				}
			}
		})
		wait.Go(func() {
			_, err := io.CopyN(io.Discard, conn, bulk)
			if err = errors.Join(err, conn.Close()); err != nil {
				failed <- err
			}
		})
	}
	wait.Wait()
	close(failed)
	require.NoError(b, <-failed)
	g.settle(b)
}

// settle waits until the origins have no connection any more, so that what the
// proxy had to do for them is done.
func (g *connectionRig) settle(b *testing.B) {
	b.Helper()
	require.Eventually(b, func() bool {
		for _, o := range g.stack.Internet.Origins() {
			if o.Open() > 0 {
				return false
			}
		}
		return true
	}, 30*time.Second, 5*time.Millisecond, "connections stay open")
}
