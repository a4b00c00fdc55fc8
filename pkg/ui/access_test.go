package ui_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/flows"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

const aGateway = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: cluster.local, listeners: [{name: m, port: 15443, protocol: MutualTLS}]}
`

// allowRule is a policy with one Allow rule.
func allowRule(name, namespace, account, hosts string) string {
	return fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: %s, namespace: %s}\nspec:\n  rules:\n"+
		"  - {action: Allow, from: [{serviceAccount: %s}], to: [{hosts: [%s]}]}\n", name, namespace, account, hosts)
}

// governed is a site with a policy in force.
func governed(t *testing.T, files map[string]string) *site {
	t.Helper()
	var all []source.File
	for _, path := range slices.Sorted(maps.Keys(files)) {
		all = append(all, source.File{Path: path, Data: []byte(files[path])})
	}
	r := policy.LoadTree(source.NewTree(all), at())
	require.NotNil(t, r.Model, r.Diagnostics)
	return newSite(t, &fixed{status: aFleet(0), policy: control.Policy{Model: r.Model, Tree: r.Tree, Documents: r.Documents, At: at()}})
}

// matrix is the table of the page Who reaches what, without its tags.
func matrix(page string) [][]string {
	var out [][]string
	for _, row := range regexp.MustCompile(`(?s)<tr>(<th.*?)</tr>`).FindAllStringSubmatch(page[strings.Index(page, "<table"):], -1) {
		var cells []string
		for _, c := range regexp.MustCompile(`(?s)<t[hd][^>]*>(.*?)</t[hd]>`).FindAllStringSubmatch(row[1], -1) {
			text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(c[1], "")
			cells = append(cells, strings.Join(strings.Fields(text), " "))
		}
		out = append(out, cells)
	}
	return out
}

func TestAccess(t *testing.T) {
	s := governed(t, map[string]string{
		"gateway.yaml": aGateway,
		"a.yaml": allowRule("us", "default", "sleep-us", `en.wikipedia.org, es.wikipedia.org`) + "---\n" +
			allowRule("canada", "default", "sleep-canada", `"*.wikipedia.org"`) + "---\n" + allowRule("batch", "jobs", "batch", `en.wikipedia.org`),
	})
	refuse := model.Deny
	s.append(seen("en.wikipedia.org", model.Allow), seen("en.wikipedia.org", model.Allow, func(f *flows.Flow) { f.AuditVerdict = &refuse }),
		seen("fr.wikipedia.org", model.Deny), seen("www.google.com", model.Allow), seen("es.wikipedia.org", model.Deny),
		seen("en.wikipedia.org", model.Deny, func(f *flows.Flow) { f.SourcePrincipal = "" }),
		seen("en.wikipedia.org", model.Deny, func(f *flows.Flow) { f.Instance = "west" }))
	page := s.page("/ui/access")
	require.Equal(t, [][]string{
		{"Host", "default", "jobs", "no namespace"},
		{"sleep-canada", "sleep-us", "batch", "anonymous"},
		{"www.google.com", "·", "✓allowed 1 not any more", "·", "·"},
		{"*.wikipedia.org", "unused", "·", "·", "·"},
		{"en.wikipedia.org", "unused", "✓allowed 2 1 audited", "unused", "✕refused 1"},
		{"es.wikipedia.org", "unused", "✕refused 1 granted now", "·", "·"},
		{"fr.wikipedia.org", "unused", "✕refused 1", "·", "·"},
	}, matrix(page))
	require.Contains(t, page, `href="/ui/flows?group=egress&amp;host=fr.wikipedia.org&amp;principal=cluster.local%2Fns%2Fdefault%2Fsa%2Fsleep-us&amp;verdict=Deny"`)
	require.Contains(t, page, `href="/ui/explain?gateway=egress&amp;host=en.wikipedia.org&amp;principal=spiffe%3A%2F%2Fcluster.local%2Fns%2Fdefault%2Fsa%2Fsleep-canada"`)
	rows := func(query string) (hosts, who []string) {
		m := matrix(s.page("/ui/access?" + query))
		for _, r := range m[2:] {
			hosts = append(hosts, r[0])
		}
		return hosts, m[1]
	}
	hosts, who := rows("host=F&who=us")
	require.Equal(t, []string{"fr.wikipedia.org"}, hosts)
	require.Equal(t, []string{"sleep-us"}, who)
	hosts, _ = rows("show=unused")
	require.Equal(t, []string{"*.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org"}, hosts)
	hosts, who = rows("show=refused")
	require.Equal(t, []string{"en.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org"}, hosts)
	require.Equal(t, []string{"sleep-us", "anonymous"}, who)
	hosts, who = rows("show=audited")
	require.Equal(t, []string{"en.wikipedia.org"}, hosts)
	require.Equal(t, []string{"sleep-us"}, who)
	hosts, _ = rows("show=seen&host=google")
	require.Equal(t, []string{"www.google.com"}, hosts)
}

// However large the matrix is, a page has a part of it.
func TestAccessPageByPage(t *testing.T) {
	var rules []string
	for i := range 20 {
		rules = append(rules, allowRule(fmt.Sprintf("p%02d", i), fmt.Sprintf("ns%d", i/5), fmt.Sprintf("account-%02d", i), fmt.Sprintf("h%02d-a.example, h%02d-b.example, h%02d-c.example", i, i, i)))
	}
	s := governed(t, map[string]string{"gateway.yaml": aGateway, "a.yaml": strings.Join(rules, "---\n")})
	seenHosts, seenWho := map[string]bool{}, map[string]bool{}
	for page := 1; page <= 2; page++ {
		for column := 1; column <= 3; column++ {
			m := matrix(s.page(fmt.Sprintf("/ui/access?page=%d&column=%d", page, column)))
			require.LessOrEqual(t, len(m[1]), 8)
			require.LessOrEqual(t, len(m)-2, 40)
			for _, r := range m[2:] {
				seenHosts[r[0]] = true
			}
			for _, who := range m[1] {
				seenWho[who] = true
			}
		}
	}
	require.Len(t, seenHosts, 60)
	require.Len(t, seenWho, 20)
	require.Contains(t, s.page("/ui/access"), "1–40 of 60")
	require.Contains(t, s.page("/ui/access?page=2"), `<a href="/ui/access?page=1">Previous</a>`)
}

// A policy that comes into force shows at once, and what was seen a moment later.
func TestAccessIsRenewed(t *testing.T) {
	t.Parallel()
	loaded := func(hosts string) control.Policy {
		r := policy.LoadTree(source.NewTree([]source.File{
			{Path: "gateway.yaml", Data: []byte(aGateway)}, {Path: "us.yaml", Data: []byte(allowRule("us", "default", "sleep-us", hosts))},
		}), at())
		require.NotNil(t, r.Model, r.Diagnostics)
		return control.Policy{Model: r.Model, Tree: r.Tree, Documents: r.Documents, At: at()}
	}
	c := &fixed{status: aFleet(0), policy: loaded("one.example")}
	s := newSite(t, c)
	hosts := func() (out []string) {
		for _, r := range matrix(s.page("/ui/access"))[2:] {
			out = append(out, strings.Join(r, " "))
		}
		return out
	}
	require.Equal(t, []string{"one.example unused"}, hosts())
	c.policy = loaded("one.example, two.example")
	require.Equal(t, []string{"one.example unused", "two.example unused"}, hosts())
	s.append(seen("one.example", model.Allow), seen("three.example", model.Deny))
	require.Eventually(t, func() bool {
		return slices.Equal([]string{"one.example ✓allowed 1", "three.example ✕refused 1", "two.example unused"}, hosts())
	}, 20*time.Second, 100*time.Millisecond)
}

func TestSuggest(t *testing.T) {
	s := governed(t, map[string]string{
		"gateway.yaml": aGateway, "us.yaml": allowRule("us", "default", "sleep-us", "en.wikipedia.org"),
		"deny.yaml": "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: never, namespace: default}\nspec: {rules: [{action: Deny, to: [{hosts: [bad.example]}]}]}\n",
	})
	address := func(host string) string { return "/ui/suggest?gateway=egress&principal=" + sleeper + "&host=" + host }
	page := s.page(address("fr.wikipedia.org"))
	for _, want := range []string{
		"With this, the verdict is Allow, by", "ns[default]-policy[sleep-us-fr-wikipedia-org]-rule[0]", "us.yaml:15", "    - serviceAccount: sleep-us\n", "      - fr.wikipedia.org\n",
		"Nobody else's access changes", `href="/ui/policies/file?path=us.yaml"`, "/assets/",
	} {
		require.Contains(t, page, want)
	}
	denied := s.page(address("bad.example"))
	require.Contains(t, denied, "it is still refused: A Deny rule is about it")
	require.Contains(t, denied, `href="/ui/policies/file?path=deny.yaml#L4"`)
	require.Contains(t, s.page(address("en.wikipedia.org")), "already, by the policy that is in force")
	require.Contains(t, s.page("/ui/suggest?gateway=egress&host=fr.wikipedia.org"), "Nothing can be suggested: who asked has no identity")
	require.Contains(t, s.page(address("*.wikipedia.org")), "Nothing can be suggested")
}
