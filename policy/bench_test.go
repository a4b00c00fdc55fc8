package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/policy"
)

// settle is how long files have to lie still before a Loader believes their
// times: see package source.
const settle = 2100 * time.Millisecond

// BenchmarkEdit measures what Loader.Load costs when it begins (scratch), and
// after one policy was given to another workload (edit), or moved down a line
// with all that follow it in the file (shift). The files hold about 67 hosts
// each, or one file holds all of them.
func BenchmarkEdit(b *testing.B) {
	for _, language := range []string{"native", "istio"} {
		for _, files := range []int{150, 1} {
			for _, hosts := range []int{100, 1_000, 10_000} {
				if language == "istio" && files == 1 {
					hosts /= 2 // more would be too much for a file
				}
				d := newEdited(b, language, hosts, files)
				name := fmt.Sprintf("%s/files=%d/hosts=%d", language, files, hosts)
				b.Run(name+"/scratch", func(b *testing.B) {
					b.ReportAllocs()
					d.used = 0
					for b.Loop() {
						d.load(b, &policy.Loader{})
					}
					d.report(b)
				})
				b.Run(name+"/edit", func(b *testing.B) { d.edits(b, d.regrant) })
				b.Run(name+"/shift", func(b *testing.B) { d.edits(b, d.shift) })
			}
		}
	}
}

// edited is a directory with a policy per host that is edited.
type edited struct {
	dir  string
	docs [][]string // by file
	turn int
	used time.Duration
}

func newEdited(b *testing.B, language string, hosts, files int) *edited {
	d := &edited{dir: b.TempDir(), docs: make([][]string, files)}
	document := nativeDocument
	if language == "istio" {
		document = istioDocument
	}
	for i := range hosts {
		d.docs[i%files] = append(d.docs[i%files], document(i, "a"))
	}
	d.put(b, "gateway.yaml", gatewayYAML)
	for i := range d.docs {
		d.write(b, i)
	}
	time.Sleep(settle)
	return d
}

func nativeDocument(i int, account string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: p%d, namespace: ns}
spec:
  owner: team@example.com
  rules:
  - action: Allow
    from: [{serviceAccount: %s}]
    to:
    - hosts: [h%d.example.org]
`, i, account, i)
}

func istioDocument(i int, account string) string {
	return fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p%d, namespace: istio-system}
spec:
  action: ALLOW
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/ns/sa/%s"]}
    when:
    - {key: connection.sni, values: [h%d.example.org]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: p%d, namespace: istio-system}
spec:
  hosts: [h%d.example.org]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
`, i, account, i, i, i)
}

func (d *edited) put(b *testing.B, name, text string) {
	b.Helper()
	temporary := filepath.Join(d.dir, name+".tmp")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(d.dir, name)); err != nil {
		b.Fatal(err)
	}
}

func (d *edited) write(b *testing.B, file int) {
	d.put(b, fmt.Sprintf("f%03d.yaml", file), strings.Join(d.docs[file], "---\n"))
}

func (d *edited) load(b *testing.B, l *policy.Loader) {
	before := processorTime(b)
	if r := l.Load(d.dir, now); r.Model == nil {
		b.Fatal(r.Diagnostics.Err())
	}
	d.used += processorTime(b) - before
}

// processorTime is what this process has used: on a machine with other work, it
// says more than the clock.
func processorTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// report says what the loads used.
func (d *edited) report(b *testing.B) {
	b.ReportMetric(float64(d.used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// regrant gives the document in the middle of a file to another workload.
func (d *edited) regrant(b *testing.B) {
	d.turn++
	at := &d.docs[0][len(d.docs[0])/2]
	for _, names := range [][2]string{{"serviceAccount: ", "}"}, {"/sa/", `"`}} {
		if before, rest, ok := strings.Cut(*at, names[0]); ok {
			_, after, _ := strings.Cut(rest, names[1])
			*at = before + names[0] + fmt.Sprintf("t%d", d.turn) + names[1] + after
		}
	}
	d.write(b, 0)
}

// shift puts a line before the first document of a file, or takes it away.
func (d *edited) shift(b *testing.B) {
	const line = "# a line\n"
	if rest, ok := strings.CutPrefix(d.docs[0][0], line); ok {
		d.docs[0][0] = rest
	} else {
		d.docs[0][0] = line + d.docs[0][0]
	}
	d.write(b, 0)
}

func (d *edited) edits(b *testing.B, edit func(*testing.B)) {
	var l policy.Loader
	d.load(b, &l)
	b.ReportAllocs()
	d.used = 0
	for b.Loop() {
		b.StopTimer()
		edit(b)
		b.StartTimer()
		d.load(b, &l)
	}
	d.report(b)
}
