package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
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
	"sallyport/test/fleet"
)

// watched is a rig whose control plane keeps flows in a database and in a file.
type watched struct {
	*rig
	db, file string
}

func watch(t *testing.T, http bool) *watched {
	t.Helper()
	w := &watched{db: filepath.Join(t.TempDir(), "flows.db"), file: filepath.Join(t.TempDir(), "flows.jsonl")}
	w.rig = rigWith(t, 3*time.Minute, func(o *demo.Options) { o.HTTP, o.WayIn = http, envoy.Sessions }, "--flows", w.file, "--flow-store", w.db)
	return w
}

// restart starts the control plane again, after it was killed.
func (w *watched) restart() {
	w.t.Helper()
	again, err := serve(w.Policies, w.control.xds.String(), "127.0.0.1:0", w.serveFlags...)
	require.NoError(w.t, err)
	w.control, w.Control = again, again
}

// asked is what `sallyport flows` says.
func (w *watched) asked(args ...string) []flows.Flow {
	w.t.Helper()
	out, err := exec.Command(binary, append([]string{"flows", "-o", "json"}, args...)...).Output()
	require.NoError(w.t, err)
	return parsed(w.t, out)
}

func parsed(t require.TestingT, lines []byte) []flows.Flow {
	var all []flows.Flow
	for line := range bytes.Lines(lines) {
		var f flows.Flow
		require.NoError(t, json.Unmarshal(line, &f), "%s", line)
		all = append(all, f)
	}
	return all
}

func (w *watched) server() string { return "--server=http://" + w.control.http.String() }

// written is what is in the file.
func (w *watched) written(t require.TestingT) []flows.Flow {
	content, err := os.ReadFile(w.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return parsed(t, content[:bytes.LastIndexByte(content, '\n')+1])
}

// dump is the file, for a failure.
func (w *watched) dump() string {
	content, err := os.ReadFile(w.file)
	return fmt.Sprintf("%v\n%s", err, content)
}

// said is a flow as the monitoring scenario has it.
type said struct {
	event, who, host string
	verdict          model.Verdict
	reason           model.Reason
	rule             string
	place            string
}

func saying(all []flows.Flow) []said {
	out := make([]said, len(all))
	for i, f := range all {
		out[i] = said{f.ConnectionEvent, f.SourcePrincipal, f.RequestedServerName, f.Verdict, f.Reason, f.Rule, ""}
		if f.File != "" {
			out[i].place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
	}
	slices.SortFunc(out, func(a, b said) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return out
}

func (w *watched) get(who, host string) { w.Workload(who).Get(w.ctx, host, "/") }

// following is `sallyport flows -f` as it goes on.
func (w *watched) following(args ...string) *lines {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	w.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, append([]string{"flows", "-f", w.server()}, args...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	said := &lines{}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			said.add(s.Text())
		}
		_ = cmd.Wait() // it was told to end
	}()
	return said
}

// counted are the control plane's counters of flows, by their labels.
func (w *watched) counted() map[string]float64 {
	w.t.Helper()
	_, page := w.control.get(w.t, "/metrics")
	all, err := fleet.Samples(page)
	require.NoError(w.t, err)
	return all
}

// grown is what counters of a name grew by.
func grown(name string, before, after map[string]float64) map[string]float64 {
	out := make(map[string]float64)
	for sample, n := range after {
		if labels, ok := strings.CutPrefix(sample, name); ok && n != before[sample] {
			out[labels] = n - before[sample]
		}
	}
	return out
}

// TestMonitoring is the monitoring scenario: what is asked for by sleep-us and
// sleep-canada of Wikipedia in four languages is in the log, with the identity and the
// name that was asked for, first with everything allowed, then with the policy by
// service account. The gateway's own file, the control plane's file, its database, and
// what `sallyport flows` says, also as they come, as a table, and after a restart, all
// have the same records; and the counters have grown by as many.
func TestMonitoring(t *testing.T) {
	w := watch(t, false)
	languages := []string{en, de, es, fr}
	const us1, canada1 = "cluster.local/ns/default/sa/" + us, "cluster.local/ns/default/sa/" + canada
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("all.yaml", allow("all", "", "*.wikipedia.org"))
	w.becomes(lab.Answered, us, en)
	asJSON, asTable := w.following("-o", "json"), w.following("-o", "table")

	step := func(want []said, patterns, policies map[string]float64) {
		t.Helper()
		time.Sleep(time.Second) // what went before has come
		began, before := time.Now(), w.counted()
		rows := len(asTable.tail(1 << 30))
		for _, who := range []string{us, canada} {
			for _, host := range languages {
				w.get(who, host)
			}
		}
		var ended []said
		for _, s := range want {
			if s.event != flows.EventOpen {
				ended = append(ended, s)
			}
		}
		slices.SortFunc(want, func(a, b said) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		slices.SortFunc(ended, func(a, b said) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		since := func(all []flows.Flow) []flows.Flow {
			return slices.DeleteFunc(all, func(f flows.Flow) bool { return f.Time.Before(began.Truncate(time.Microsecond)) })
		}
		require.Eventually(t, func() bool { return len(since(w.written(t))) >= len(want) }, 10*time.Second, 20*time.Millisecond,
			"the file has %v", saying(since(w.written(t))))
		require.Eventually(t, func() bool { return len(w.log.Since(0)) > 0 && len(since(w.log.Since(0))) >= len(ended) }, 10*time.Second, 20*time.Millisecond)
		require.Equal(t, want, saying(since(w.written(t))), "the control plane's file")
		require.Equal(t, want, saying(since(w.asked(w.server()))), "sallyport flows")
		require.Equal(t, want, saying(since(w.asked("--store", w.db))), "the database")
		require.Equal(t, ended, saying(since(w.log.Since(0))), "the gateway's own file")
		w.sameRecords(since(w.log.Since(0)), since(w.written(t)))
		follows := func() []said { return saying(since(parsed(t, []byte(asJSON.tail(1<<30))))) }
		require.Eventually(t, func() bool { return len(follows()) >= len(want) }, 10*time.Second, 20*time.Millisecond)
		require.Equal(t, want, follows(), "sallyport flows -f")
		require.Eventually(t, func() bool { return strings.Count(asTable.tail(1 << 30)[rows:], "\n") >= len(want) }, 10*time.Second, 20*time.Millisecond)
		var table, inTable []string
		for line := range strings.Lines(strings.TrimPrefix(asTable.tail(1 << 30)[rows:], "\n")) {
			table = append(table, strings.Join(strings.Fields(line)[1:], " "))
		}
		for _, s := range want {
			inTable = append(inTable, strings.TrimSpace(strings.Join(strings.Fields(fmt.Sprint(s.event, " ", s.verdict, " ", s.who, " ", s.host, " ", s.reason, " ", s.rule, " ", s.place)), " ")))
		}
		require.ElementsMatch(t, inTable, table, "sallyport flows -f -o table")
		after := w.counted()
		require.Equal(t, patterns, grown("sallyport_flows_by_pattern_total", before, after))
		require.Equal(t, policies, grown("sallyport_flows_by_policy_total", before, after))
	}
	const byPattern, byPolicy = `{group="egress",pattern="%s",verdict="%s"}`, `{group="egress",namespace="%s",policy="%s",verdict="%s"}`
	allowed := func(who, host, rule, place string) []said {
		var out []said
		for _, event := range []string{flows.EventOpen, flows.EventClose} {
			out = append(out, said{event, who, host, model.Allow, model.AllowRule, rule, place})
		}
		return out
	}
	var want []said
	for _, who := range []string{us1, canada1} {
		for _, host := range languages {
			want = append(want, allowed(who, host, "ns[default]-policy[all]-rule[0]", "all.yaml:6")...)
		}
	}
	step(want, map[string]float64{fmt.Sprintf(byPattern, "*.wikipedia.org", "Allow"): 8}, map[string]float64{fmt.Sprintf(byPolicy, "default", "all", "Allow"): 8})

	w.write("all.yaml", allow("us", us, en, es)+"---\n"+allow("canada", canada, en, fr))
	w.becomes(lab.Refused, us, fr)
	w.becomes(lab.Answered, canada, fr)
	const usRule, canadaRule = "ns[default]-policy[us]-rule[0]", "ns[default]-policy[canada]-rule[0]"
	want = nil
	for _, host := range []string{en, es} {
		want = append(want, allowed(us1, host, usRule, "all.yaml:6")...)
	}
	for _, host := range []string{en, fr} {
		want = append(want, allowed(canada1, host, canadaRule, "all.yaml:15")...)
	}
	for who, hosts := range map[string][]string{us1: {de, fr}, canada1: {de, es}} {
		for _, host := range hosts {
			want = append(want, said{flows.EventRefused, who, host, model.Deny, model.NoAllowRule, "", ""})
		}
	}
	step(want, map[string]float64{
		fmt.Sprintf(byPattern, "*.wikipedia.org", "Deny"): 2, fmt.Sprintf(byPattern, en, "Allow"): 2,
		fmt.Sprintf(byPattern, es, "Allow"): 1, fmt.Sprintf(byPattern, es, "Deny"): 1, fmt.Sprintf(byPattern, fr, "Allow"): 1, fmt.Sprintf(byPattern, fr, "Deny"): 1,
	}, map[string]float64{
		fmt.Sprintf(byPolicy, "default", "us", "Allow"): 2, fmt.Sprintf(byPolicy, "default", "canada", "Allow"): 2, fmt.Sprintf(byPolicy, "", "none", "Deny"): 4,
	})

	_, metrics := w.control.get(t, "/metrics")
	require.Contains(t, metrics, `sallyport_flows_total{group="egress",reason="no-allow-rule",verdict="Deny"}`)
	require.Contains(t, metrics, `sallyport_flows_dropped_total{sink="store"} 0`)
	require.Contains(t, metrics, `sallyport_flow_records_unreadable_total 0`)

	refused := w.asked(w.server(), "--refused", "--principal", us1, "--host", "*.wikipedia.org", "--since", "1h")
	require.NotEmpty(t, refused)
	for _, f := range refused {
		require.Equal(t, us1, f.SourcePrincipal)
		require.Equal(t, model.Deny, f.Verdict)
	}
	w.aggregatesAgree()

	all := w.asked(w.server(), "--limit", "100000")
	require.NoError(t, w.control.Stop())
	w.restart()
	require.Equal(t, all, w.asked(w.server(), "--limit", "100000"), "after a restart")
	w.aggregatesAgree()
}

// sameRecords says that a record that came over the stream says what the line in the
// gateway's file does.
func (w *watched) sameRecords(lines, records []flows.Flow) {
	w.t.Helper()
	byConnection := make(map[string]flows.Flow)
	for _, f := range records {
		if f.Ended() {
			require.Equal(w.t, "gateway-1", f.Gateway)
			f.Gateway = ""
			byConnection[f.Connection] = f
		}
	}
	for _, f := range lines {
		require.Equal(w.t, f, byConnection[f.Connection])
	}
}

// aggregatesAgree says that what is kept of all flows is what they come to.
func (w *watched) aggregatesAgree() {
	w.t.Helper()
	out, err := exec.Command(binary, "flows", w.server(), "--aggregate", "-o", "json").Output()
	require.NoError(w.t, err)
	var all []store.Aggregate
	require.NoError(w.t, json.Unmarshal(out, &all))
	type key struct{ who, host, rule string }
	counts, bytesSent := make(map[key]uint64), make(map[key]uint64)
	for _, f := range w.asked(w.server()) {
		if f.Ended() {
			k := key{f.SourcePrincipal, f.RequestedServerName, f.Rule}
			counts[k]++
			bytesSent[k] += f.BytesSent
		}
	}
	for _, a := range all {
		k := key{a.Principal, a.Host, a.Rule}
		require.Equal(w.t, counts[k], a.Count, "%v", k)
		require.Equal(w.t, bytesSent[k], a.BytesSent, "%v", k)
		delete(counts, k)
	}
	require.Empty(w.t, counts)
}

// TestFlowsFollow: `sallyport flows -f` says of a connection that it is open while it
// is, and that it ended when it has.
func TestFlowsFollow(t *testing.T) {
	w := watch(t, false)
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en))
	w.becomes(lab.Answered, us, en)
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "flows", "-f", w.server(), "-o", "json", "--host", en, "--limit", "1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	got := make(chan flows.Flow, 100)
	go func() {
		defer close(got)
		for s := bufio.NewScanner(out); s.Scan(); {
			var f flows.Flow
			if json.Unmarshal(s.Bytes(), &f) == nil {
				got <- f
			}
		}
	}()
	<-got // the latest, of before
	began := time.Now()
	conn := w.open(us, en, lab.Idle)
	next := func() flows.Flow {
		for {
			select {
			case f := <-got:
				if f.Time.After(began) {
					return f
				}
			case <-time.After(10 * time.Second):
				t.Fatal("nothing comes")
			}
		}
	}
	open := next()
	require.Equal(t, flows.EventOpen, open.ConnectionEvent)
	_, metrics := w.control.get(t, "/metrics")
	require.Contains(t, metrics, "\nsallyport_connections_open 1\n")
	require.NoError(t, conn.Close())
	closed := next()
	require.Equal(t, flows.EventClose, closed.ConnectionEvent)
	require.Equal(t, open.Connection, closed.Connection)
	require.Equal(t, open.Rule, closed.Rule)
	cancel()
	_ = cmd.Wait() // it was told to end
}

// TestFlowsFromTheWire: what a workload sends as names and headers does not get into
// the log as anything but text, and no record is lost by it.
func TestFlowsFromTheWire(t *testing.T) {
	w := watch(t, true)
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en))
	w.becomes(lab.Answered, us, en)
	names := []string{"\xff\xfe.wikipedia.org", "\x1b[31mred.wikipedia.org", "a\nb.wikipedia.org", "\u202egro.wikipedia.org", `{"level":"info"}`}
	for _, name := range names {
		conn, err := net.Dial("tcp", w.TLS.String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(2*time.Second)))
		_, _ = conn.Write(lab.Hello{ServerName: []byte(name)}.Bytes())
		_, _ = conn.Read(make([]byte, 1))
		require.NoError(t, conn.Close())
	}
	p, err := w.ProxyUser(us)
	require.NoError(t, err)
	requests := []string{
		"GET http://de.wikipedia.org/\x80\xff HTTP/1.1\r\nHost: de.wikipedia.org\r\n\r\n",
		"GET http://de.wikipedia.org/ HTTP/1.1\r\nHost: de.wikipedia.org\r\nUser-Agent: \xff\xfe\r\nReferer: \x80\r\nX-Forwarded-For: \xff\r\nX-Request-Id: \xff\r\n\r\n",
		"GET http://de.wikipedia.org/ HTTP/1.1\r\nHost: de.wikipedia.org\r\nUser-Agent: " + strings.Repeat("x", 20_000) + "\r\n\r\n",
		"CONNECT " + strings.Repeat("y", 4_000) + ".wikipedia.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
	}
	for _, request := range requests {
		conn, err := p.DialProxy(w.ctx)
		require.NoError(t, err)
		_, err = conn.Write([]byte(request))
		require.NoError(t, err)
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	count := func() (raw, wire int) {
		for _, f := range w.written(t) {
			switch {
			case f.Via != "":
				wire++
			case f.SourcePrincipal == "":
				raw++
			}
		}
		return raw, wire
	}
	require.Eventually(t, func() bool {
		raw, wire := count()
		return raw >= len(names) && wire >= len(requests)
	}, 10*time.Second, 20*time.Millisecond, "%s", w.dump())
	raw, wire := count()
	require.Equal(t, len(names), raw, "%s", w.dump())
	require.Equal(t, len(requests), wire, "%s", w.dump())
	content, err := os.ReadFile(w.file)
	require.NoError(t, err)
	for _, b := range content {
		require.True(t, b == '\n' || b >= 0x20 && b != 0x7f, "byte %#x is in the log", b)
	}
	require.NotContains(t, string(content), "\u202e")
	_, metrics := w.control.get(t, "/metrics")
	require.Contains(t, metrics, `sallyport_flow_records_unreadable_total 0`)
	require.Contains(t, metrics, `sallyport_log_streams_refused_total 0`)
}
