package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

func withAllowed(document, cidr string) string {
	return strings.Replace(document, "addresses: {allow: [", "addresses: {allow: ["+cidr+", ", 1)
}

// open opens a connection that is to be watched.
func (r *rig) open(who, host string, mode lab.Mode) *lab.Conn {
	r.t.Helper()
	conn, err := r.Workload(who).Open(r.ctx, host, mode)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (r *rig) closes(since time.Time, conns ...*lab.Conn) {
	r.t.Helper()
	for _, c := range conns {
		select {
		case <-c.Ended():
		case <-time.After(time.Until(since.Add(2 * time.Second))):
			r.t.Errorf("a revoked connection to %s (%s) is open after 2 s", c.Host(), c.Mode())
		}
	}
}

func (r *rig) alive(conns ...*lab.Conn) {
	r.t.Helper()
	for _, c := range conns {
		if c.Mode() == lab.Idle {
			_, err := c.End()
			require.NoError(r.t, err, "an idle connection to %s was lost", c.Host())
			continue
		}
		require.NoError(r.t, c.Alive(r.ctx), "a connection to %s (%s) was lost", c.Host(), c.Mode())
	}
}

// TestEditsCutNothingElse: 50 edits that do not concern them leave connections
// alone: other hosts, hosts under other wildcards, other grants of the same
// host, other principals of the same rule (F).
func TestEditsCutNothingElse(t *testing.T) {
	r := start(t, nil)
	r.write("hosts.yaml", r.Destination("hosts", "", "*.wikipedia.org", google))
	r.write("google.yaml", allow("google", us, google))
	r.write("wildcard.yaml", allow("wildcard", us, "*.wikipedia.org"))
	r.write("english.yaml", allow("english", us, en))
	r.write("canada.yaml", allow("canada", canada, en))
	r.write("both.yaml", strings.Replace(allow("both", us, fr), "serviceAccount: sleep-us}", "serviceAccount: sleep-us}, {serviceAccount: sleep-canada}", 1))
	for _, a := range []struct{ who, host string }{{us, en}, {us, google}, {us, fr}, {canada, en}, {canada, fr}} {
		r.becomes(lab.Answered, a.who, a.host)
	}
	kept := []*lab.Conn{
		r.open(us, google, lab.Active), r.open(us, google, lab.Idle),
		r.open(us, es, lab.Active), r.open(us, de, lab.HalfOpen),
		r.open(us, en, lab.Active), r.open(us, fr, lab.Active),
	}
	// In turn: a policy for other hosts, another grant for the same host, another
	// principal in the same rule, a comment, a Deny for somebody else, audit, a
	// policy that goes, a second rule for the same.
	edits := []func(i int){
		func(i int) {
			r.write("other.yaml", allow("other", us, fmt.Sprintf("h%d.example.com", i), fmt.Sprintf("*.w%d.example.com", i)))
		},
		func(i int) { r.write("canada.yaml", allow("canada", canada, en, fmt.Sprintf("c%d.wikipedia.org", i))) },
		func(i int) {
			who := "serviceAccount: sleep-us}, {serviceAccount: sleep-canada}"
			if i%2 == 0 {
				who = "serviceAccount: sleep-us}, {serviceAccount: third}"
			}
			r.write("both.yaml", strings.Replace(allow("both", us, fr), "serviceAccount: sleep-us}", who, 1))
		},
		func(i int) { r.write("english.yaml", fmt.Sprintf("# edit %d\n\n", i)+allow("english", us, en)) },
		func(i int) {
			r.write("deny.yaml", egressPolicy("deny", "Deny", fmt.Sprintf("sa-%d", i), google, en, "*.wikipedia.org"))
		},
		func(i int) {
			audit := strings.Replace(egressPolicy("audit", "Deny", us, google, en), "spec:\n", fmt.Sprintf("spec:\n  mode: Audit\n  reason: try %d\n", i), 1)
			r.write("audit.yaml", audit)
		},
		func(int) { _ = r.Remove("other.yaml") },
		// A second rule for what is allowed already, before the first by name.
		func(i int) { r.write("again.yaml", allow(fmt.Sprintf("a-%d", i), us, google, "*.wikipedia.org", fr)) },
		func(int) { _ = r.Remove("again.yaml") },
	}
	for i := range 50 {
		edits[i%len(edits)](i)
		// A probe follows each edit through to enforcement, so that no two
		// become one.
		probe := fmt.Sprintf("probe-%d.wikipedia.org", i)
		r.write("probe.yaml", egressPolicy("probe", "Deny", canada, probe))
		r.write("generation.yaml", allow("generation", canada, fmt.Sprintf("g%d.wikipedia.org", i)))
		r.Internet.DNS.Set(fmt.Sprintf("g%d.wikipedia.org", i), time.Second, r.Internet.Addresses()[0])
		r.becomes(lab.Answered, canada, fmt.Sprintf("g%d.wikipedia.org", i))
	}
	r.alive(kept...)

	began := time.Now()
	r.write("google.yaml", "")
	require.NoError(t, r.Remove("google.yaml"))
	r.closes(began, kept[0], kept[1])
	r.alive(kept[2:]...)
}

// TestRevocations: what an edit takes away closes within two seconds, in every
// way that an edit can take it away.
func TestRevocations(t *testing.T) {
	r := start(t, nil)
	r.write("hosts.yaml", r.Destination("hosts", "", "*.wikipedia.org", google))
	base := allow("wildcard", us, "*.wikipedia.org")
	both := strings.Replace(allow("both", us, google), "serviceAccount: sleep-us}", "serviceAccount: sleep-us}, {serviceAccount: sleep-canada}", 1)
	for _, tc := range []struct {
		name  string
		edit  func()
		cut   [][2]string
		keep  [][2]string
		check [2]string
	}{
		{
			name: "a Deny rule for a host under the wildcard",
			edit: func() { r.write("deny.yaml", egressPolicy("deny", "Deny", us, de)) },
			cut:  [][2]string{{us, de}}, keep: [][2]string{{us, google}, {canada, google}}, check: [2]string{us, de},
		},
		{
			name: "an exception to the wildcard",
			edit: func() {
				r.write("wildcard.yaml", strings.Replace(base, `hosts: ["*.wikipedia.org"]`, `hosts: ["*.wikipedia.org"], except: [de.wikipedia.org]`, 1))
			},
			cut: [][2]string{{us, de}}, keep: [][2]string{{us, google}}, check: [2]string{us, de},
		},
		{
			name: "a principal taken out of the rule",
			edit: func() { r.write("both.yaml", allow("both", us, google)) },
			cut:  [][2]string{{canada, google}}, keep: [][2]string{{us, google}, {us, de}}, check: [2]string{canada, google},
		},
		{
			name: "a policy turned to audit",
			edit: func() { r.write("both.yaml", strings.Replace(both, "spec:\n", "spec:\n  mode: Audit\n", 1)) },
			cut:  [][2]string{{canada, google}, {us, google}}, keep: [][2]string{{us, de}}, check: [2]string{us, google},
		},
		{
			name: "an expiry",
			edit: func() {
				r.write("both.yaml", strings.Replace(both, "spec:\n", "spec:\n  expires: "+time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano)+"\n", 1))
				time.Sleep(time.Second)
			},
			cut: [][2]string{{canada, google}}, keep: [][2]string{{us, de}}, check: [2]string{us, google},
		},
		{
			name: "a Destination that is no longer exported",
			edit: func() {
				r.write("google-only.yaml", strings.Replace(r.Destination("google-only", "", google), "spec:\n", "spec:\n  exportTo: [elsewhere]\n", 1))
				r.write("hosts.yaml", r.Destination("hosts", "", "*.wikipedia.org"))
			},
			cut: [][2]string{{canada, google}}, keep: [][2]string{{us, de}}, check: [2]string{us, google},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_ = r.Remove("deny.yaml")
			_ = r.Remove("google-only.yaml")
			r.write("hosts.yaml", r.Destination("hosts", "", "*.wikipedia.org", google))
			r.write("wildcard.yaml", base)
			r.write("both.yaml", both)
			r.becomes(lab.Answered, us, de)
			r.becomes(lab.Answered, canada, google)
			r.becomes(lab.Answered, us, google)
			var cut, kept []*lab.Conn
			for _, c := range tc.cut {
				cut = append(cut, r.open(c[0], c[1], lab.Active), r.open(c[0], c[1], lab.Idle), r.open(c[0], c[1], lab.HalfOpen))
			}
			for _, c := range tc.keep {
				kept = append(kept, r.open(c[0], c[1], lab.Active), r.open(c[0], c[1], lab.Idle))
			}
			tc.edit()
			began := time.Now()
			r.closes(began, cut...)
			r.alive(kept...)
			r.refused(tc.check[0], tc.check[1])
		})
	}
}
