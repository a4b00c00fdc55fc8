package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
)

// BenchmarkEdit measures how long it takes from the rename of a policy file to
// the first connection that the real gateway refuses, and to the last one that
// it still lets through, beside a directory of other hosts; and to the first one
// that it lets through when the host is granted again, or is new. It does so
// with the file of a single host in a directory of many files, and with
// everything in one file, which is the worst that a user can do.
func BenchmarkEdit(b *testing.B) {
	binary := build(b)
	summary := newTable("hosts", "files", "refused p50", "p99", "everywhere p50", "p99", "granted p50", "p99",
		"new host p50", "p99", "ACK p50", "p99", "control CPU/edit", "Envoy main CPU/edit", "control MB", "Envoy MB")
	parts := newTable("hosts", "files", "", "noticed", "load", "translate", "snapshot", "publish", "until ACK", "until refused")
	for _, v := range []struct {
		name  string
		one   bool
		edits int
	}{{"files=many", false, 100}, {"files=one", true, 50}} {
		for _, hosts := range []int{10, 100, 1_000, 10_000} {
			b.Run(fmt.Sprintf("hosts=%d/%s", hosts, v.name), func(b *testing.B) {
				r := newEditRig(b, binary, directory{hosts: hosts, oneFile: v.one})
				for b.Loop() {
					r.run(b, v.edits)
				}
				r.report(b, summary, parts)
			})
		}
	}
	summary.print("from the rename of a policy file, in ms")
	parts.print("where the time of a revocation goes, each step by itself, in ms")
}

// editRig is a control plane, a gateway, and what was measured.
type editRig struct {
	directory
	stack   *demo.Stack
	control *controlPlane
	prober  *prober

	revoked, granted, added []edit
	controlCPU              time.Duration
	envoyCPU                time.Duration
}

// edit is one edit, in milliseconds since the rename.
type edit struct {
	change
	// published and acked are when the control plane had published it, and when
	// the gateway had said that it has it.
	published, acked float64
	built            built
}

func newEditRig(b *testing.B, binary string, d directory) *editRig {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r := &editRig{directory: d}
	var envoyLog tail
	stack, err := demo.Start(ctx, demo.Options{
		Dir: b.TempDir(), Sites: []lab.Site{{Hosts: []string{"*." + domain}}},
		EnvoyLog: func(_, line string) { _, _ = envoyLog.Write([]byte(line + "\n")) },
		StartControl: func(_ context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			r.control = serve(b, binary, policies, own)
			return r.control, nil
		},
	})
	b.Cleanup(func() { require.NoError(b, stack.Close(), "%s", &envoyLog) })
	require.NoError(b, err)
	r.stack = stack
	// The names are resolved once, not every second.
	address := stack.Internet.Addresses()[0]
	stack.Internet.DNS.Set("*."+domain, time.Hour, address)
	r.port = newOrigin(b, address).port()
	r.prober = newProber(stack.TLS)
	require.NoError(b, r.write(stack.Policies))
	for k := range r.incidents() {
		r.prober.watch(b, r.incidentHost(k), time.Now(), true)
	}
	return r
}

// run makes edits: one host after the other is revoked and granted again.
func (r *editRig) run(b *testing.B, edits int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// What belongs to the start is over when an edit has come through.
	r.edit(b, ctx, 0, true)
	r.edit(b, ctx, 0, false)
	control, gateway := r.control.usage(b).CPU, mainThreadCPU(b, r.stack.Gateway.PID())
	for i := range edits {
		k := i % r.incidents()
		r.revoked = append(r.revoked, r.edit(b, ctx, k, true))
		r.granted = append(r.granted, r.edit(b, ctx, k, false))
	}
	r.controlCPU = (r.control.usage(b).CPU - control) / time.Duration(2*edits)
	r.envoyCPU = (mainThreadCPU(b, r.stack.Gateway.PID()) - gateway) / time.Duration(2*edits)
	for range additions {
		host, name, content := r.addition(len(r.added))
		r.added = append(r.added, r.put(b, ctx, name, content, host, true))
	}
}

// additions is how many hosts are added.
const additions = 25

// pause is between two edits, so that each finds everything at rest.
const pause = 50 * time.Millisecond

// edit revokes the host of incident k, or grants it again.
func (r *editRig) edit(b *testing.B, ctx context.Context, k int, revoke bool) edit {
	b.Helper()
	name, content := r.directory.edit(k, revoke)
	return r.put(b, ctx, name, content, r.incidentHost(k), !revoke)
}

// put renames a file into place, and watches the host that becomes open, or
// closed, by that.
func (r *editRig) put(b *testing.B, ctx context.Context, name, content, host string, open bool) edit {
	b.Helper()
	// Beside the directory, so that only the rename is an event in it.
	temporary := filepath.Join(r.stack.Dir, "edit")
	require.NoError(b, os.WriteFile(temporary, []byte(content), 0o600))
	time.Sleep(pause)

	began := time.Now()
	require.NoError(b, os.Rename(temporary, filepath.Join(r.stack.Policies, name)))
	e := edit{change: r.prober.watch(b, host, began, open)}
	receipt := r.control.receipt(b, ctx, began)
	e.published = millis(receipt.PublishedAt.Sub(began))
	e.acked = e.published + receipt.FirstMillis
	e.built = r.control.log.generation(receipt.Generation)
	return e
}

func (r *editRig) report(b *testing.B, summary, parts *table) {
	b.Helper()
	first := func(e edit) float64 { return millis(e.first) }
	last := func(e edit) float64 { return millis(max(e.first, e.last)) }
	acked := func(e edit) float64 { return e.acked }
	gateway, err := r.stack.Gateway.Usage()
	require.NoError(b, err)
	control := r.control.usage(b)

	files := fmt.Sprint(len(r.files(-1)))
	row := []any{r.hosts, files}
	for _, m := range []struct {
		name  string
		edits []edit
		of    func(edit) float64
	}{{"refused", r.revoked, first}, {"everywhere", r.revoked, last}, {"granted", r.granted, first},
		{"added", r.added, first}, {"acked", r.revoked, acked}} {
		values := each(m.edits, m.of)
		for _, p := range []int{50, 99} {
			report(b, fmt.Sprintf("%s-p%d-ms", m.name, p), percentile(values, p))
			row = append(row, percentile(values, p))
		}
	}
	report(b, "control-cpu-ms/edit", millis(r.controlCPU))
	report(b, "envoy-main-cpu-ms/edit", millis(r.envoyCPU))
	report(b, "control-rss-MB", mib(control.RSS))
	report(b, "envoy-rss-MB", mib(gateway.RSS))
	summary.row(append(row, millis(r.controlCPU), millis(r.envoyCPU), mib(control.RSS), mib(gateway.RSS))...)

	work := func(e edit) float64 { return e.built.Load + e.built.Translate + e.built.Snapshot }
	for _, p := range []int{50, 99} {
		row := []any{r.hosts, files, fmt.Sprintf("p%d", p)}
		for _, of := range []func(edit) float64{
			func(e edit) float64 { return e.published - work(e) },
			func(e edit) float64 { return e.built.Load },
			func(e edit) float64 { return e.built.Translate },
			func(e edit) float64 { return e.built.Snapshot },
			func(e edit) float64 { return e.built.Publish },
			func(e edit) float64 { return e.acked - e.published },
			func(e edit) float64 { return first(e) - e.acked },
		} {
			row = append(row, percentile(each(r.revoked, of), p))
		}
		parts.row(row...)
	}
}

func each(edits []edit, of func(edit) float64) []float64 {
	out := make([]float64, len(edits))
	for i, e := range edits {
		out[i] = of(e)
	}
	return out
}
