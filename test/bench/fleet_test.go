package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/svid"
)

const (
	// fleetSize is how many gateways there are at most.
	fleetSize = 1_000
	// fleetEnvoys is how many real ones stand beside them.
	fleetEnvoys = 3
	// fleetLooks is how often status and metrics are asked for.
	fleetLooks = 20
	// stillFor is how long nothing must come after an edit that changes nothing.
	stillFor = 300 * time.Millisecond
)

// BenchmarkFleet measures the control plane, as a process of its own behind
// mutual TLS, with up to a thousand gateways. Those are streams in this process,
// each on a connection and with a certificate of its own, and share the two
// cores with it. An edit lasts from the rename of the file until the last of
// them has sent its ACK.
func BenchmarkFleet(b *testing.B) {
	binary := build(b)
	allowManyFiles(b, 4*fleetSize)
	edits := newTable("hosts", "gateways", "edits", "p50 ms", "p99 ms", "KB/gateway/edit",
		"control CPU ms/edit", "clients' CPU ms/edit", "RSS MB", "peak MB")
	others := newTable("hosts", "", "ms", "CPU ms", "MB sent", "peak RSS MB")
	looks := newTable("hosts", "gateways", "", "p50 ms", "slowest ms", "KB")
	for _, hosts := range []int{100, 1_000, 10_000} {
		r := &fleetRig{directory: directory{hosts: hosts, port: 443}, binary: binary}
		b.Run(fmt.Sprintf("hosts=%d/cold-start", hosts), func(b *testing.B) {
			r.start(b)
			row := r.first(b)
			report(b, "start-to-ack-ms", row.millis)
			others.row(row.cells(hosts, "start to a gateway's first ACK of everything")...)
		})
		if r.control == nil {
			continue // not to be run
		}
		for _, v := range []struct{ gateways, edits int }{{1, 100}, {100, 100}, {fleetSize, 50}} {
			b.Run(fmt.Sprintf("hosts=%d/gateways=%d", hosts, v.gateways), func(b *testing.B) {
				// A gateway's first connection is 64 MB at 10,000 hosts: a hundred will do.
				have := "nothing"
				if v.gateways == fleetSize && hosts == 10_000 {
					have = "everything"
				}
				more := v.gateways - len(r.clients.clients)
				row := r.grow(b, v.gateways, have == "everything")
				if more > 0 {
					others.row(row.cells(hosts, fmt.Sprintf("%d more gateways that have %s", more, have))...)
				}
				r.unchanged(b)
				m := r.edit(b, v.edits)
				m.report(b)
				edits.row(m.cells(hosts, v.gateways)...)
			})
		}
		if hosts == 10_000 {
			for _, what := range []string{"status", "metrics"} {
				b.Run(fmt.Sprintf("hosts=%d/%s", hosts, what), func(b *testing.B) {
					row := r.look(b, what)
					report(b, "p50-ms", row[0].(float64))
					looks.row(append([]any{hosts, fleetSize, what}, row...)...)
				})
			}
			for _, s := range []struct {
				name, what string
				cause      func(*testing.B)
			}{
				{"cut", "all connections cut, until all gateways are current", func(*testing.B) { r.clients.cut() }},
				{"killed", "killed and started again, likewise", func(b *testing.B) { r.restart(b) }},
				{"killed-state", "the same with --state", func(b *testing.B) { r.restart(b, "--state", r.state) }},
			} {
				b.Run(fmt.Sprintf("hosts=%d/storm=%s", hosts, s.name), func(b *testing.B) {
					row := r.storm(b, s.cause)
					report(b, "settled-ms", row.millis)
					others.row(row.cells(hosts, s.what)...)
				})
			}
			b.Run(fmt.Sprintf("hosts=%d/gateways=%d/envoys=%d", hosts, fleetSize, fleetEnvoys), func(b *testing.B) {
				r.addEnvoys(b)
				m := r.edit(b, 20)
				m.report(b)
				edits.row(m.cells(hosts, fmt.Sprintf("%d+%d Envoys", fleetSize, fleetEnvoys))...)
			})
		}
		r.end(b)
	}
	edits.print("from the rename of a policy file to the last gateway's ACK")
	others.print("the fleet as a whole")
	looks.print("HTTP, with all gateways connected")
}

// fleetRig is a control plane and its fleet.
type fleetRig struct {
	directory
	binary    string
	dir       string
	policies  string
	state     string
	xds, web  string
	authority *ca.Authority
	control   *child
	clients   *fleetClients
	cancel    context.CancelFunc
	envoys    []*envoy.Process
	http      http.Client
	began     time.Time
	edits     int // so far
}

// start starts the control plane.
func (r *fleetRig) start(b *testing.B) {
	b.Helper()
	var err error
	// Not b's own directory: that goes with the first of several benchmarks.
	r.dir, err = os.MkdirTemp("", "sallyport-fleet-")
	require.NoError(b, err)
	r.policies, r.state = filepath.Join(r.dir, "policies"), filepath.Join(r.dir, "state")
	for _, dir := range []string{r.policies, r.state} {
		require.NoError(b, os.Mkdir(dir, 0o700))
	}
	require.NoError(b, r.write(r.policies))
	require.NoError(b, os.WriteFile(filepath.Join(r.policies, "gateway.yaml"), []byte(gatewayDocument()+"  nodes: ["+demo.GatewayID+"]\n"), 0o600))
	r.authority, err = ca.Create(filepath.Join(r.dir, "certs"), ca.Options{})
	require.NoError(b, err)
	_, err = r.authority.IssueFile("control-plane", ca.Gateway(demo.ControlPlaneID, "control-plane"))
	require.NoError(b, err)
	r.xds, r.web = freeAddress(b).String(), freeAddress(b).String()
	r.run(b)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.clients = newFleetClients(ctx, r.xds)
}

func (r *fleetRig) run(b *testing.B, more ...string) {
	b.Helper()
	own := svid.Paths{
		Certificate: ca.CertificatePath(r.authority.Dir(), "control-plane"), Key: ca.KeyPath(r.authority.Dir(), "control-plane"),
		Authorities: r.authority.CertificatePath(),
	}
	r.began = time.Now()
	r.control = launch(b, nil, r.binary, append([]string{"serve", "--policies", r.policies,
		"--xds", r.xds, "--http", r.web, "--log-format", "json",
		"--certificate", own.Certificate, "--key", own.Key, "--ca", own.Authorities}, more...)...)
}

// end ends everything.
func (r *fleetRig) end(b *testing.B) {
	b.Helper()
	r.cancel()
	r.clients.cut()
	r.clients.running.Wait()
	for _, e := range r.envoys {
		require.NoError(b, e.Stop(5*time.Second))
	}
	r.control.stop()
	require.NoError(b, os.RemoveAll(r.dir))
}

// config is TLS with a certificate of its own.
func (r *fleetRig) config(b *testing.B) *tls.Config {
	b.Helper()
	credential, err := r.authority.Issue(ca.Workload(demo.GatewayID))
	require.NoError(b, err)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: r.authority.Pool(), ServerName: "control-plane", NextProtos: []string{"h2"},
		Certificates: []tls.Certificate{credential.TLS()},
	}
}

// fleetSpent is what something cost the control plane.
type fleetSpent struct{ millis, cpu, sent, peak float64 }

func (s fleetSpent) cells(hosts int, what string) []any {
	return []any{hosts, what, s.millis, s.cpu, s.sent, s.peak}
}

// first connects the first gateway while the control plane starts, and returns
// how long it took to have everything.
func (r *fleetRig) first(b *testing.B) fleetSpent {
	b.Helper()
	r.clients.add(r.config(b))
	r.current(b, 1)
	return r.spent(b, time.Unix(0, r.clients.lastACK.Load()).Sub(r.began), 0)
}

func (r *fleetRig) spent(b *testing.B, took, cpu time.Duration) fleetSpent {
	b.Helper()
	return fleetSpent{
		millis: millis(took), cpu: millis(r.control.usage(b).CPU - cpu),
		sent: float64(r.clients.bytes.Swap(0)) / 1e6, peak: peakOf(b, r.control.cmd.Process.Pid),
	}
}

// grow connects gateways, until there are so many: such that have everything, as
// when they come back, or nothing.
func (r *fleetRig) grow(b *testing.B, gateways int, everything bool) fleetSpent {
	b.Helper()
	var configs []*tls.Config
	for len(configs)+len(r.clients.clients) < gateways {
		configs = append(configs, r.config(b))
	}
	r.clients.forget()
	if everything {
		require.NoError(b, r.clients.remember())
	}
	forgetPeakOf(b, r.control.cmd.Process.Pid)
	cpu, began := r.control.usage(b).CPU, time.Now()
	for _, c := range configs {
		r.clients.add(c)
	}
	r.current(b, gateways)
	return r.spent(b, time.Since(began), cpu)
}

// current waits until so many gateways have all there is.
func (r *fleetRig) current(b *testing.B, gateways int) {
	b.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	pause := 5 * time.Millisecond
	for {
		text, err := r.get("metrics")
		if err == nil && gauge(text, "sallyport_gateways") == gateways && gauge(text, "sallyport_gateways_current") == gateways {
			return
		}
		require.True(b, time.Now().Before(deadline), "not all %d gateways are current: %v\n%s\n%s", gateways, err, text, r.control.tail)
		time.Sleep(pause)
		if gateways > 100 {
			pause = 50 * time.Millisecond
		}
	}
}

func (r *fleetRig) get(what string) (string, error) {
	response, err := r.http.Get("http://" + r.web + "/" + what)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// gauge is the value of a metric of the fleet's group, or -1.
func gauge(text, name string) int {
	_, rest, found := strings.Cut(text, "\n"+name+`{group="`+demo.Group+`"} `)
	if !found {
		return -1
	}
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return -1
	}
	return int(n)
}

// put renames a file into place.
func (r *fleetRig) put(b *testing.B, name, content string) time.Time {
	b.Helper()
	temporary := filepath.Join(r.dir, "edit") // beside the directory: only the rename is an event in it
	require.NoError(b, os.WriteFile(temporary, []byte(content), 0o600))
	time.Sleep(pause)
	began := time.Now()
	require.NoError(b, os.Rename(temporary, filepath.Join(r.policies, name)))
	return began
}

// unchanged makes edits that change nothing, and nothing may come of them: a
// comment, and documents in another order.
func (r *fleetRig) unchanged(b *testing.B) {
	b.Helper()
	name := "team-000.yaml"
	documents := strings.Split(r.team(0), "---\n")
	require.Greater(b, len(documents), 2)
	last := len(documents) - 1
	reordered := append([]string{documents[last]}, documents[:last]...)
	r.clients.responses.Store(0)
	for _, content := range []string{"# a comment\n" + r.team(0), strings.Join(reordered, "---\n"), r.team(0)} {
		r.put(b, name, content)
		_, err := r.get("status?look") // which is answered when the directory was read
		require.NoError(b, err)
		time.Sleep(stillFor)
		require.Zero(b, r.clients.responses.Load(), "an edit that changes nothing was sent to gateways")
	}
}

// fleetEdits is what was measured of edits.
type fleetEdits struct {
	took                 []float64
	perGateway           float64 // KB an edit
	cpu, clients         float64 // ms an edit
	rss, peak            float64 // MB
	gateways, editsCount int
}

// edit makes edits, one host after the other, each denied and granted again.
func (r *fleetRig) edit(b *testing.B, edits int) *fleetEdits {
	b.Helper()
	gateways := len(r.clients.clients)
	m := &fleetEdits{gateways: gateways, editsCount: edits}
	one := func() {
		name, content := r.directory.edit(r.edits/2%r.incidents(), r.edits%2 == 0)
		r.edits++
		r.clients.expect(gateways)
		began := r.put(b, name, content)
		select {
		case <-r.clients.done:
		case <-time.After(time.Minute):
			require.Fail(b, "not all gateways have acknowledged an edit", "%s", r.control.tail)
		}
		m.took = append(m.took, millis(time.Since(began)))
		if len(r.envoys) > 0 {
			r.current(b, gateways+len(r.envoys))
		}
	}
	one() // what belongs to the start is over then
	one()
	m.took = nil
	r.clients.bytes.Store(0)
	r.clients.responses.Store(0)
	pid := r.control.cmd.Process.Pid
	forgetPeakOf(b, pid)
	control, own := r.control.usage(b).CPU, ownCPU()
	for range edits {
		one()
	}
	usage := r.control.usage(b)
	m.cpu, m.clients = millis(usage.CPU-control)/float64(edits), millis(ownCPU()-own)/float64(edits)
	m.rss, m.peak = mib(usage.RSS), peakOf(b, pid)
	require.EqualValues(b, edits*gateways, r.clients.responses.Load(), "each edit is one response to each gateway")
	m.perGateway = float64(r.clients.bytes.Swap(0)) / 1e3 / float64(edits*gateways)
	r.current(b, gateways+len(r.envoys))
	require.NoError(b, r.clients.remember())
	return m
}

func (m *fleetEdits) report(b *testing.B) {
	b.Helper()
	report(b, "p50-ms", percentile(m.took, 50))
	report(b, "p99-ms", percentile(m.took, 99))
	report(b, "KB/gateway/edit", m.perGateway)
	report(b, "control-cpu-ms/edit", m.cpu)
	report(b, "clients-cpu-ms/edit", m.clients)
	report(b, "rss-MB", m.rss)
	report(b, "peak-MB", m.peak)
}

func (m *fleetEdits) cells(hosts int, gateways any) []any {
	return []any{hosts, gateways, m.editsCount, percentile(m.took, 50), percentile(m.took, 99), m.perGateway, m.cpu, m.clients, m.rss, m.peak}
}

// look measures how long it takes to be told of everything.
func (r *fleetRig) look(b *testing.B, what string) []any {
	b.Helper()
	var took []float64
	size := 0
	for range fleetLooks {
		began := time.Now()
		text, err := r.get(what)
		require.NoError(b, err)
		took, size = append(took, millis(time.Since(began))), len(text)
	}
	return []any{percentile(took, 50), percentile(took, 100), float64(size) / 1e3}
}

// storm cuts all gateways off, and waits until all are back and settled. They
// have everything, so nothing may be sent.
func (r *fleetRig) storm(b *testing.B, cause func(*testing.B)) fleetSpent {
	b.Helper()
	gateways := len(r.clients.clients)
	r.clients.bytes.Store(0)
	r.clients.responses.Store(0)
	r.clients.connected.Store(0)
	before := r.control
	forgetPeakOf(b, before.cmd.Process.Pid)
	cpu, began := before.usage(b).CPU, time.Now()
	cause(b)
	if r.control != before {
		cpu = 0
	}
	for r.clients.connected.Load() < int64(gateways) {
		require.Less(b, time.Since(began), time.Minute, "not all gateways came back")
		time.Sleep(5 * time.Millisecond)
	}
	r.current(b, gateways)
	took := time.Since(began)
	require.Zero(b, r.clients.responses.Load(), "gateways that are up to date were sent something")
	return r.spent(b, took, cpu)
}

// restart kills the control plane, and starts it again.
func (r *fleetRig) restart(b *testing.B, more ...string) {
	b.Helper()
	require.NoError(b, r.control.cmd.Process.Kill())
	<-r.control.done
	r.run(b, more...)
}

// addEnvoys starts real gateways beside the others.
func (r *fleetRig) addEnvoys(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := r.authority.IssueFile("gateway", ca.Workload(demo.GatewayID))
	require.NoError(b, err)
	for i := range fleetEnvoys {
		bundle, err := envoy.Gateway(envoy.GatewayOptions{
			Dir: filepath.Join(r.dir, fmt.Sprintf("envoy-%d", i)), ID: fmt.Sprintf("envoy-%d", i), Group: demo.Group,
			ControlPlane: r.xds, ControlPlaneID: demo.ControlPlaneID, Admin: "127.0.0.1:0",
			Certificates: envoy.Certificates{
				Certificate: ca.CertificatePath(r.authority.Dir(), "gateway"), Key: ca.KeyPath(r.authority.Dir(), "gateway"), CA: r.authority.CertificatePath(),
			},
		})
		require.NoError(b, err)
		require.NoError(b, bundle.Write())
		p, err := envoy.Start(ctx, envoy.ProcessOptions{Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1})
		require.NoError(b, err)
		r.envoys = append(r.envoys, p)
		require.NoError(b, p.Ready(ctx))
	}
	r.current(b, len(r.clients.clients)+fleetEnvoys)
}
