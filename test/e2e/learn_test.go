package e2e

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/pkg/lab"
	"sallyport/policy/model"
	"sallyport/policy/suggest"
)

// inMode is the stack's gateway in a mode.
func (w *watched) inMode(mode string) string {
	return strings.Replace(w.GatewayDocument(), "spec:\n", "spec:\n  mode: "+mode+"\n", 1)
}

// run is a command of sallyport's that must succeed.
func (w *watched) run(args ...string) string {
	w.t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	require.NoError(w.t, err, "sallyport %s: %s", strings.Join(args, " "), out)
	return string(out)
}

// TestLearn is the round from looking to enforcing, on real Envoys, through each way
// in: a gateway in mode Audit refuses nothing but what would endanger it, and says of
// each connection what mode Enforce would say; the policy that is suggested allows what
// was seen and nothing else; and the switch to Enforce closes what is refused then, and
// no other.
func TestLearn(t *testing.T) {
	for _, way := range []struct {
		name string
		http bool
		in   envoy.WayIn
	}{{"mutual TLS", false, envoy.Sessions}, {"CONNECT streams", true, envoy.Streams}} {
		t.Run(way.name, func(t *testing.T) {
			w := &watched{db: filepath.Join(t.TempDir(), "flows.db"), file: filepath.Join(t.TempDir(), "flows.jsonl")}
			w.rig = rigWith(t, 3*time.Minute, func(o *demo.Options) { o.HTTP, o.WayIn = way.http, way.in }, "--flows", w.file, "--flow-store", w.db)
			w.learn()
		})
	}
}

const (
	usID     = "cluster.local/ns/default/sa/" + us
	canadaID = "cluster.local/ns/default/sa/" + canada
)

func (w *watched) learn() {
	t := w.t
	w.write("hosts.yaml", w.Destination("hosts", "", "*.wikipedia.org", google))
	w.write("english.yaml", allow("english", us, en))
	w.write("deny.yaml", egressPolicy("deny", "Deny", us, de))
	w.becomes(lab.Answered, us, en)
	w.refused(us, es)
	w.write("gateway.yaml", w.inMode("Audit"))
	w.becomes(lab.Answered, us, es)

	// Looking: what is allowed, what would be refused, and what the gateway refuses all
	// the same. Nothing registers the last but one, which is let through to nowhere.
	began := time.Now()
	w.reaches(us, en)
	w.reaches(us, de)
	w.reaches(us, es)
	w.reaches(canada, fr)
	w.reaches(canada, google)
	w.Internet.DNS.Set("unknown.example.org", time.Second, w.Internet.Addresses()[0])
	w.get(canada, "unknown.example.org")
	w.Internet.DNS.Set("private.wikipedia.org", time.Second, netip.MustParseAddr("10.0.0.1"))
	require.Equal(t, lab.Refused, w.Workload(us).Get(w.ctx, "private.wikipedia.org", "/").Outcome)
	type learnt struct {
		who, host string
		verdict   model.Verdict
		reason    model.Reason
		would     string
		by        string
	}
	want := []learnt{
		{canadaID, fr, model.Allow, model.AuditMode, "Deny no-allow-rule", ""},
		{canadaID, "unknown.example.org", model.Allow, model.AuditMode, "Deny host-not-registered", ""},
		{canadaID, google, model.Allow, model.AuditMode, "Deny no-allow-rule", ""},
		{usID, de, model.Allow, model.AuditMode, "Deny deny-rule", "ns[default]-policy[deny]-rule[0] deny.yaml:6"},
		{usID, en, model.Allow, model.AllowRule, "Allow allow-rule", ""},
		{usID, es, model.Allow, model.AuditMode, "Deny no-allow-rule", ""},
		{usID, "private.wikipedia.org", model.Deny, flows.NoAddress, "", ""},
	}
	said := func(all []flows.Flow) []learnt {
		var out []learnt
		for _, f := range all {
			if !f.Ended() || f.Time.Before(began.Truncate(time.Microsecond)) {
				continue
			}
			l := learnt{who: f.SourcePrincipal, host: f.RequestedServerName, verdict: f.Verdict, reason: f.Reason}
			if f.AuditVerdict != nil {
				l.would = f.AuditVerdict.String() + " " + string(f.AuditReason)
			}
			if f.AuditBy != nil {
				l.by = f.AuditBy.Rule + " " + f.AuditBy.File + ":6"
				require.Equal(t, 6, f.AuditBy.Line)
			}
			out = append(out, l)
		}
		slices.SortFunc(out, func(a, b learnt) int { return strings.Compare(a.who+a.host, b.who+b.host) })
		return out
	}
	require.Eventually(t, func() bool { return len(said(w.written(t))) >= len(want) }, 10*time.Second, 20*time.Millisecond, "the file: %s", w.dump)
	require.Equal(t, want, said(w.written(t)), "the control plane's file")
	require.Equal(t, want, said(w.asked(w.server())), "sallyport flows")
	require.Equal(t, want, said(w.log.Since(0)), "the gateway's own file")
	would := slices.DeleteFunc(slices.Clone(want), func(l learnt) bool { return !strings.HasPrefix(l.would, "Deny") })
	require.Equal(t, would, said(w.asked(w.server(), "--would-be-refused")))
	require.Equal(t, would, said(w.asked("--store", w.db, "--would-be-refused")))
	var aggregates []store.Aggregate
	require.NoError(t, json.Unmarshal([]byte(w.run("flows", w.server(), "--aggregate", "--would-be-refused", "-o", "json")), &aggregates))
	require.Len(t, aggregates, len(would)) // es was asked for before, too: that is the same one
	_, metrics := w.control.get(t, "/metrics")
	require.Contains(t, metrics, `sallyport_flows_would_be_refused_total{group="egress",reason="deny-rule"} 1`)

	// Suggested, validated, in force beside the rest; nothing is enforced yet.
	allowed, denied, unsaid := w.open(us, en, lab.Active), w.open(us, de, lab.Active), w.open(canada, fr, lab.Active)
	suggested := w.run("suggest", w.server(), "--policies", w.Policies)
	require.Contains(t, suggested, "a Deny rule is about it")
	require.Contains(t, suggested, "the address guard refused it")
	w.write("observed.yaml", suggested)
	w.run("validate", w.Policies)
	w.run("fmt", "--check", filepath.Join(w.Policies, "observed.yaml"))
	// What mode Enforce would cost now is what the Deny rule is about.
	out, err := exec.Command(binary, "replay", w.server(), "--policies", w.Policies, "-o", "json").Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	var replayed suggest.Replayed
	require.NoError(t, json.Unmarshal(out, &replayed))
	require.Len(t, replayed.Refused, 1)
	require.Equal(t, []string{"spiffe://" + usID, de, "ns[default]-policy[deny]-rule[0]"}, []string{replayed.Refused[0].Principal, replayed.Refused[0].Host, replayed.Refused[0].After.Rule})
	require.Eventually(t, func() bool {
		w.reaches(canada, fr)
		all := w.asked(w.server(), "--principal", canadaID, "--host", fr, "--reason", string(model.AllowRule))
		return len(all) > 0
	}, 10*time.Second, 50*time.Millisecond, "the suggested rule never allows")
	granted := w.open(canada, fr, lab.Active)
	w.alive(allowed, denied, unsaid, granted)

	// Enforced: what was seen is allowed, but for what a Deny rule is about, and nothing
	// else. What a grant let in stays open; what none did is closed.
	switched := time.Now()
	w.write("gateway.yaml", w.inMode("Enforce"))
	w.closes(switched, denied)
	t.Logf("closed %v after the edit", time.Since(switched))
	w.alive(allowed, granted)
	// It was let in when no rule was for it, and no one can tell it from the others.
	w.closes(switched, unsaid)
	for _, who := range []string{us, canada} {
		for _, host := range []string{en, de, es, fr, google} {
			switch seen := who == us && (host == en || host == es) || who == canada && (host == fr || host == google); seen {
			case true:
				w.reaches(who, host)
			default:
				w.refused(who, host)
			}
		}
	}
}
