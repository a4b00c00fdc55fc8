package web

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	cdp "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
	"sallyport/test/fleet"
)

// The size of what BenchmarkFlowPages looks at: as many flows and aggregates as a store
// keeps.
const (
	benchHosts      = 10_000
	benchPrincipals = 300
	benchKept       = 100_000
)

// BenchmarkFlowPages is what the pages about flows cost with 10,000 granted hosts, 300
// workloads, and a store that is full: what BenchmarkPage measures, and how long the first
// visit takes (first-ms), which makes what is kept for a while.
func BenchmarkFlowPages(b *testing.B) {
	base, err := fleet.NewSite(b.TempDir())
	require.NoError(b, err)
	s := &site{Site: base, t: b}
	for i := range benchPrincipals {
		var hosts []string
		for j := i; j < benchHosts; j += benchPrincipals {
			hosts = append(hosts, benchHost(j))
		}
		s.write(fmt.Sprintf("policy-%03d.yaml", i), fleet.Allow(fmt.Sprintf("policy-%03d", i), fmt.Sprintf("account-%03d", i), hosts...))
	}
	file := filepath.Join(s.Dir, "flows.db")
	fill(b, file)
	s.start("--flow-store", file)
	require.Eventually(b, func() bool {
		status, err := s.control.Get("/status")
		return err == nil && regexp.MustCompile(`"ready":\s*true`).MatchString(status)
	}, 2*patience, patience/100)
	for _, page := range []struct{ name, path string }{
		{"overview", "/ui/"},
		{"flows", "/ui/flows"},
		{"flows of a host", "/ui/flows?verdict=Deny&host=made-up-77777.example.net"},
		{"flows of the last week", "/ui/flows?span=week"},
		{"who reaches what", "/ui/access"},
		{"who reaches what, searched", "/ui/access?host=host-99&who=account-0"},
		{"suggest", "/ui/suggest?gateway=egress&principal=cluster.local/ns/default/sa/account-001&host=new.example.org"},
	} {
		b.Run(page.name, func(b *testing.B) {
			br := open(b, s.base)
			_, err := chromedp.Call(br.ctx, cdp.AddScriptToEvaluateOnNewDocument, cdp.AddScriptToEvaluateOnNewDocumentParams{Source: observe})
			require.NoError(b, err)
			for b.Loop() {
				began := time.Now()
				_, err := s.control.Get(page.path)
				require.NoError(b, err)
				first := time.Since(began)
				s.measureServer(b, page.path)
				measureBrowser(b, br, page.path)
				b.ReportMetric(millis(first), "first-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFlowsLive is what ten thousand connections a second cost the control plane, in
// percent of one processor, without anybody who looks and with one page that is live; and
// the page, and for how long it is busy at once.
func BenchmarkFlowsLive(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%t", watched), func(b *testing.B) {
			s := newSite(b)
			var tab *browser
			if watched {
				tab = open(b, s.base)
				tab.visit("/ui/flows")
				tab.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
				tab.do(chromedp.Evaluate[chromedp.Void](watchFrames))
			}
			r := s.recorder("gateway-0")
			for b.Loop() {
				before, began := s.cpu(b), time.Now()
				var used time.Duration
				if watched {
					used = tab.threadTime()
				}
				r.atRate(10_000, 5*time.Second)
				if watched {
					b.ReportMetric(100*(tab.threadTime()-used).Seconds()/time.Since(began).Seconds(), "page-cpu-%")
				}
				b.ReportMetric(100*(s.cpu(b)-before).Seconds()/time.Since(began).Seconds(), "cpu-%")
			}
			b.ReportMetric(0, "ns/op")
			if watched {
				b.ReportMetric(eval[float64](tab, `window.busy`), "busy-ms")
				b.ReportMetric(eval[float64](tab, `window.stood`), "frame-ms")
			}
		})
	}
}

func benchHost(i int) string { return fmt.Sprintf("host-%d.example.org", i) }

// fill makes a store as full as it may be.
func fill(b *testing.B, file string) {
	b.Helper()
	kept, err := store.Open(store.Options{File: file})
	require.NoError(b, err)
	now := time.Now()
	var batch []*flows.Event
	for i := range 2 * benchKept {
		f := flows.Flow{
			Level: "info", Time: now.Add(time.Duration(i-2*benchKept) * 3 * time.Second), Instance: "egress", Gateway: fmt.Sprintf("gateway-%d", i%1000), ConnectionEvent: flows.EventRefused,
			RequestedServerName: fmt.Sprintf("made-up-%d.example.net", i), SourcePrincipal: fmt.Sprintf("cluster.local/ns/default/sa/account-%03d", i%benchPrincipals),
			Reason: model.NotRegistered, Connection: fmt.Sprintf("c3a24901-b0b0-4685-8e07-%012d", i), Source: "10.1.2.3:44462",
		}
		if i%2 == 0 {
			n := i / 2
			f.ConnectionEvent, f.Verdict, f.Reason = flows.EventClose, model.Allow, model.AllowRule
			f.RequestedServerName, f.SourcePrincipal = benchHost(n%benchHosts), fmt.Sprintf("cluster.local/ns/default/sa/account-%03d", (n/benchHosts+n)%benchPrincipals)
			f.Policy, f.PolicyNamespace, f.Rule, f.File, f.Line = "policy", "default", "ns[default]-policy[policy]-rule[0]", "policy-000.yaml", 6
			f.BytesReceived, f.BytesSent, f.DurationMilliseconds = 1805, 2355, 28
		}
		e, err := flows.NewEvent(f)
		require.NoError(b, err)
		if batch = append(batch, e); len(batch) == 10_000 {
			require.NoError(b, kept.Append(context.Background(), batch))
			batch = nil
		}
	}
	require.NoError(b, kept.Close())
}
