package ui_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/pkg/flows"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

const gatewayFile = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: proxy, port: 15080, protocol: HTTP}
`

// wikipediaFile has what a page must not take for its own.
const wikipediaFile = `# </code></pre><script>alert(1)</script>
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: wikipedia, namespace: default}
spec:
  owner: "<b>atlas</b>"
  expires: 2026-12-05T00:00:00Z
  rules:
  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [en.wikipedia.org, de.wikipedia.org]}]
  - action: Deny
    to: [{hosts: [de.wikipedia.org]}]
  - action: Allow
    to: [{hosts: [never.example.com]}]
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: later, namespace: default}
spec:
  mode: Audit
  rules:
  - action: Allow
    to: [{hosts: [audit.example.com]}]
`

// hostileFile is a file name that a directory can have.
const hostileFile = `a"><script>alert(2)</script>#?&%41` + "\u202e" + `.yaml`

// aPolicy is a controller with files in force.
func aPolicy(t *testing.T, files map[string]string) *fixed {
	t.Helper()
	var all []source.File
	for path, text := range files {
		all = append(all, source.File{Path: path, Data: []byte(text)})
	}
	got := policy.LoadTree(source.NewTree(all), at())
	require.NoError(t, got.Diagnostics.Err())
	return &fixed{
		status: control.Status{Ready: true, Generation: 3, PublishedAt: at(), Files: len(files), Warnings: got.Diagnostics, Directory: "/policies"},
		policy: control.Policy{Model: got.Model, Tree: got.Tree, Documents: got.Documents, At: at()},
	}
}

func wikipedia(t *testing.T) *fixed {
	t.Helper()
	return aPolicy(t, map[string]string{"gateway.yaml": gatewayFile, "teams/wikipedia.yaml": wikipediaFile, hostileFile: "# nothing\n"})
}

// saw puts flows into the store.
func (s *site) saw(all ...flows.Flow) {
	s.t.Helper()
	var batch []*flows.Event
	for _, f := range all {
		f.Time, f.ConnectionEvent = at().Add(-time.Minute), flows.EventClose
		text, err := json.Marshal(f)
		require.NoError(s.t, err)
		batch = append(batch, &flows.Event{Flow: f, JSON: text})
	}
	require.NoError(s.t, s.store.Append(s.t.Context(), batch))
}

func rule(n string) string { return "ns[default]-policy[wikipedia]-rule[" + n + "]" }

func TestPolicies(t *testing.T) {
	s := newSite(t, wikipedia(t))
	s.saw(
		flows.Flow{Verdict: model.Allow, Reason: model.AllowRule, Rule: rule("0"), RequestedServerName: "en.wikipedia.org"},
		flows.Flow{Verdict: model.Allow, Reason: model.AllowRule, Rule: rule("0"), RequestedServerName: "en.wikipedia.org", Instance: "other"},
		flows.Flow{Reason: model.DenyRule, Rule: rule("1"), RequestedServerName: "de.wikipedia.org"},
	)
	page := s.page("/ui/policies")
	row := regexp.MustCompile(`(?s)<tr>\s*<th scope="row"><a class="mono" href="/ui/policies/file\?path=teams%2Fwikipedia.yaml">.*?</tr>`).FindString(page)
	for _, want := range []string{
		"EgressPolicy default/wikipedia", "EgressPolicy default/later", "&lt;b&gt;atlas", `<td class="num">4</td>`, `<td class="num">2</td>`,
		`<td class="num">1</td>`, "2026-11-28 14:59:00", "expires in 6 days", "audit", "1 rule unused",
	} {
		require.Contains(t, row, want)
	}
	require.Contains(t, page, "Connections are counted since")
	require.Contains(t, page, "1 warning about what is in force")
	for query, want := range map[string]int{"state=unused": 1, "state=expired": 0, "state=audit": 1, "q=gateway.yaml": 1, "q=DEFAULT/LATER": 1, "q=nothing": 0, "": 3} {
		require.Equal(t, want, strings.Count(s.page("/ui/policies?"+query), `<th scope="row">`), query)
	}
}

func TestPolicyFile(t *testing.T) {
	s := newSite(t, wikipedia(t))
	s.saw(flows.Flow{Verdict: model.Allow, Reason: model.AllowRule, Rule: rule("0"), RequestedServerName: "en.wikipedia.org"})
	page := s.page("/ui/policies/file?path=teams/wikipedia.yaml")
	require.Contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
	line := func(n string) string {
		return regexp.MustCompile(`(?s)<tr id="L` + n + `">.*?</tr>`).FindString(page)
	}
	require.Contains(t, line("9"), "1 allowed")
	require.Contains(t, line("12"), "unused")
	require.Contains(t, line("23"), "audit")
	require.Contains(t, line("3"), `<a href="#L3">3</a>`)
	r, _ := s.get("/ui/policies/file?path=../secret")
	require.Equal(t, http.StatusNotFound, r.StatusCode)
}

// Names of files and what stands in them are text.
func TestPoliciesEscape(t *testing.T) {
	s := newSite(t, wikipedia(t))
	page := s.page("/ui/policies")
	address := regexp.MustCompile(`href="(/ui/policies/file\?path=a[^"]*)"`).FindStringSubmatch(page)
	require.NotNil(t, address)
	file := s.page(strings.ReplaceAll(address[1], "&amp;", "&"))
	require.Contains(t, file, `<h1>a&#34;&gt;&lt;script&gt;alert(2)&lt;/script&gt;#?&amp;%41\u202e.yaml</h1>`)
	for _, text := range []string{page, file, s.page("/ui/policies/file?path=teams/wikipedia.yaml")} {
		require.NotContains(t, text, "<script>alert")
		require.NotContains(t, text, "</pre>")
		require.NotContains(t, text, "\u202e")
	}
	_, missing := s.get("/ui/policies/file?path=" + url.QueryEscape("<script>alert(3)</script>\u202e"))
	require.NotContains(t, missing, "<script>alert")
	require.NotContains(t, missing, "\u202e")
}

// A directory that is refused is shown beside what is in force.
func TestRefusedDirectory(t *testing.T) {
	c := wikipedia(t)
	c.policy.Refused = source.NewTree([]source.File{
		{Path: "gateway.yaml", Data: []byte(gatewayFile + "# edited\n")}, {Path: "broken.yaml", Data: []byte("kind: <script>alert(4)</script>\nmore \u202e\n")},
	})
	c.status.Errors = diag.List{{Pos: diag.Position{File: "broken.yaml", Line: 1, Column: 7}, Code: "unknown-kind", Message: "there is no kind <script>alert(4)</script>"}}
	s := newSite(t, c)
	page := s.page("/ui/policies")
	require.Contains(t, page, "generation 3, of")
	require.Contains(t, page, `href="/ui/policies/file?now=yes&amp;path=broken.yaml#L1">broken.yaml:1</a>`)
	require.Contains(t, page, "unknown-kind")
	require.NotContains(t, page, "<script>alert")
	require.Contains(t, s.page("/ui/"), "The policy directory is refused</strong>, 1 error; generation 3 stays in force")

	broken := s.page("/ui/policies/file?path=broken.yaml")
	require.Contains(t, broken, "It is not in force.")
	require.Contains(t, broken, `<tr id="L1" class="wrong">`)
	require.NotContains(t, broken, "<script>alert")
	require.NotContains(t, broken, "\u202e")
	require.Contains(t, broken, `more <span class="hidden-character" title="a character that does not show">U&#43;202E</span>`)
	require.NotContains(t, s.page("/ui/policies/file?path=gateway.yaml"), "# edited")
	require.Contains(t, s.page("/ui/policies/file?path=gateway.yaml"), "has been changed since")
	require.Contains(t, s.page("/ui/policies/file?path=gateway.yaml&now=yes"), "# edited")
}

// A file may be as large as files may be: it comes in pages, and a link to a line names
// its page.
func TestLargeFile(t *testing.T) {
	s := newSite(t, aPolicy(t, map[string]string{"gateway.yaml": gatewayFile + strings.Repeat("# comment\n", 5000)}))
	page := s.page("/ui/policies/file?path=gateway.yaml&page=3")
	require.Contains(t, page, `<tr id="L4001">`)
	require.NotContains(t, page, `<tr id="L4000">`)
}
