package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/policy/compile"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// path is the way from files to a snapshot, its steps kept apart. Package
// policy and the control loop take it in the same order.
type path struct {
	reader     source.Reader
	decoder    syntax.Decoder
	translator *translate.Translator
	snapshot   *snapshot.Snapshot
}

func newPath() *path { return &path{translator: translate.New()} }

// steps is how long each step took.
type steps struct{ read, decode, compile, translate, snapshot time.Duration }

// take goes the way once.
func (p *path) take(b *testing.B, dir string) (took steps) {
	b.Helper()
	clock := time.Now()
	lap := func(d *time.Duration) {
		now := time.Now()
		*d, clock = now.Sub(clock), now
	}
	tree, diags := p.reader.Read(dir)
	lap(&took.read)
	require.NoError(b, diags.Err())
	docs, diags := p.decoder.Decode(tree.Files)
	lap(&took.decode)
	require.NoError(b, diags.Err())
	m, diags := compile.Compile(docs, time.Now())
	lap(&took.compile)
	require.NoError(b, diags.Err())
	resources, err := p.translator.Translate(m.FindGateway(demo.Group))
	lap(&took.translate)
	require.NoError(b, err)
	p.snapshot, err = snapshot.New(p.snapshot, resources)
	lap(&took.snapshot)
	require.NoError(b, err)
	return took
}

// writeAll writes the directory, with a gateway.
func (d directory) writeAll(b *testing.B) (dir string) {
	b.Helper()
	dir = b.TempDir()
	require.NoError(b, d.write(dir))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(gatewayDocument()), 0o600))
	return dir
}

// BenchmarkPath measures the control plane's work from the files to the
// snapshot, without any gateway: at a start, and after an edit of one host.
func BenchmarkPath(b *testing.B) {
	t := newTable("hosts", "files", "", "read", "decode", "compile", "translate", "snapshot", "all")
	for _, one := range []bool{false, true} {
		for _, hosts := range []int{10, 1_000, 10_000} {
			d := directory{hosts: hosts, oneFile: one, port: 443}
			files := len(d.files(-1)) + 1
			b.Run(fmt.Sprintf("hosts=%d/files=%d", hosts, files), func(b *testing.B) {
				dir := d.writeAll(b)
				for b.Loop() {
					var starts, edits []steps
					for range 5 {
						starts = append(starts, newPath().take(b, dir))
					}
					p := newPath()
					p.take(b, dir)
					for i := range 20 {
						name, content := d.edit(i/2%d.incidents(), i%2 == 0)
						require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
						before := p.snapshot
						edits = append(edits, p.take(b, dir))
						require.NotSame(b, before, p.snapshot, "the edit changed nothing")
					}
					stepRow(b, t, "start", hosts, files, starts)
					stepRow(b, t, "edit", hosts, files, edits)
				}
			})
		}
	}
	t.print("the control plane's work from files to snapshot, medians in ms")
}

func stepRow(b *testing.B, t *table, when string, hosts, files int, took []steps) {
	b.Helper()
	part := func(of func(steps) time.Duration) float64 {
		var all []float64
		for _, s := range took {
			all = append(all, millis(of(s)))
		}
		return median(all)
	}
	all := part(func(s steps) time.Duration { return s.read + s.decode + s.compile + s.translate + s.snapshot })
	report(b, when+"-ms", all)
	t.row(hosts, files, when,
		part(func(s steps) time.Duration { return s.read }), part(func(s steps) time.Duration { return s.decode }),
		part(func(s steps) time.Duration { return s.compile }), part(func(s steps) time.Duration { return s.translate }),
		part(func(s steps) time.Duration { return s.snapshot }), all)
}
