package policy_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

// A small world, so that random documents meet: they cover each other's hosts,
// have each other's names, and speak of each other's workloads.
var (
	worldHosts     = rapid.SampledFrom([]string{"a.x.org", "b.x.org", "c.a.x.org", "x.org", "a.y.org", "*.x.org", "*.a.x.org", "*.y.org", "*.org", "*"})
	worldSpaces    = rapid.SampledFrom([]string{"n1", "n1", "n2", "istio-system"})
	worldAccounts  = rapid.SampledFrom([]string{"s1", "s2", "s3"})
	worldNames     = rapid.StringMatching(`[a-f]`)
	worldFiles     = rapid.SampledFrom([]string{"a.yaml", "b.yaml", "f1/c.yaml", "f1/d.yml", "f2/e.yaml", "f2/j.json"})
	worldMoments   = rapid.SampledFrom([]string{"2026-11-22T11:00:00Z", "2026-11-22T13:00:00Z", "2026-11-25T00:00:00Z", "2026-12-20T00:00:00Z", "2027-03-01T00:00:00Z"})
	worldQuestions = []hostname.Name{"a.x.org", "b.x.org", "c.a.x.org", "d.a.x.org", "x.org", "z.x.org", "a.y.org", "org", "other.net"}
)

func oneOf[T any](t *rapid.T, label string, all ...T) T { return rapid.SampledFrom(all).Draw(t, label) }

func quoted(t *rapid.T, label string, g *rapid.Generator[string], least, most int) string {
	list := rapid.SliceOfNDistinct(g, least, most, rapid.ID).Draw(t, label)
	return `["` + strings.Join(list, `", "`) + `"]`
}

// document is a random one of any kind.
func document(t *rapid.T) string {
	kind := oneOf(t, "kind", "policy", "policy", "policy", "policy", "destination", "test", "authorization", "authorization",
		"entry", "entry", "rule", oneOf(t, "odd kind", "routes", "broken", "meaningless", "policy", "policy", "policy"))
	name, space := worldNames.Draw(t, "name"), worldSpaces.Draw(t, "namespace")
	switch kind {
	case "policy":
		return policyDocument(t, name, space)
	case "destination":
		more := oneOf(t, "destination", "", "  port: 8443\n", "  exportTo: [\".\"]\n", "  exportTo: [n1]\n", "  exportTo: [n2]\n",
			"  resolve: {host: front.x.org}\n", "  tls: Originate\n", "  resolve: {addresses: [192.0.2.1]}\n")
		return fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: %s, namespace: %s}\nspec:\n  hosts: %s\n%s",
			name, space, quoted(t, "hosts", worldHosts, 1, 2), more)
	case "test":
		return fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: PolicyTest\nmetadata: {name: %s, namespace: %s}\nspec:\n  tests:\n%s", name, space, testLines(t))
	case "authorization":
		return authorizationDocument(t, name)
	case "entry":
		hosts := rapid.SampledFrom([]string{"a.x.org", "b.x.org", "*.x.org", "a.y.org"})
		space = oneOf(t, "entry's namespace", "\n  namespace: n1", "\n  namespace: istio-system", "")
		more := oneOf(t, "entry", "  resolution: NONE\n", "  resolution: NONE\n  exportTo: [n1]\n", "  resolution: NONE\n  exportTo: [\"*\"]\n")
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: %s%s\nspec:\n  hosts: %s\n  location: MESH_EXTERNAL\n  ports: [{number: %d, name: tls, protocol: TLS}]\n%s",
			name, space, quoted(t, "hosts", hosts, 1, 2), oneOf(t, "port", 443, 443, 8443), more)
	case "routes":
		host := oneOf(t, "host", "a.x.org", "b.x.org")
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s}\nspec:\n  hosts: [%s]\n  tls:\n"+
			"  - match: [{port: 443, sniHosts: [%s]}]\n    route: [{destination: {host: %s, port: {number: 443}}}]\n", name, space, host, host, host)
	case "rule":
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: %s}\nspec:\n  host: %s\n  trafficPolicy: {tls: {mode: %s}}\n",
			name, space, oneOf(t, "host", "a.x.org", "b.x.org"), oneOf(t, "mode", "SIMPLE", "DISABLE"))
	case "broken":
		return oneOf(t, "broken", "apiVersion: sallyport.dev/v1\nkind: EgressPolcy\n", "a: [\n", "%YAML 1.2\n", "a: \"not\n", "- \tx\n", "a: &b 1\n")
	default:
		return oneOf(t, "meaningless", "", "# nothing\n", "null\n", "...\n")
	}
}

func policyDocument(t *rapid.T, name, space string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: %s, namespace: %s}\nspec:\n  owner: %s\n", name, space, oneOf(t, "owner", "one", "two"))
	if oneOf(t, "expires", false, false, true) {
		fmt.Fprintf(&b, "  expires: %s\n", worldMoments.Draw(t, "moment"))
	}
	if oneOf(t, "audit", false, false, true) {
		b.WriteString("  mode: Audit\n")
	}
	b.WriteString("  rules:\n")
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		fmt.Fprintf(&b, "  - action: %s\n", oneOf(t, "action", "Allow", "Allow", "Deny"))
		switch oneOf(t, "from", "account", "account", "everyone", "namespace") {
		case "account":
			fmt.Fprintf(&b, "    from: [{serviceAccount: %s}]\n", worldAccounts.Draw(t, "account"))
		case "namespace":
			fmt.Fprintf(&b, "    from: [{namespace: %s}]\n", space)
		}
		b.WriteString("    to:\n")
		for range rapid.IntRange(1, 2).Draw(t, "to") {
			fmt.Fprintf(&b, "    - hosts: %s\n", quoted(t, "hosts", worldHosts, 1, 2))
			if oneOf(t, "excepts", false, false, true) {
				fmt.Fprintf(&b, "      except: %s\n", quoted(t, "except", worldHosts, 1, 2))
			}
		}
	}
	if oneOf(t, "tests", false, false, false, true) {
		b.WriteString("  tests:\n" + testLines(t))
	}
	return b.String()
}

func testLines(t *rapid.T) string {
	host := oneOf(t, "host", "a.x.org", "b.x.org", "c.a.x.org", "a.y.org")
	return fmt.Sprintf("  - {from: {principal: \"spiffe://cluster.local/ns/%s/sa/%s\"}, host: %s, expect: %s}\n",
		worldSpaces.Draw(t, "namespace"), worldAccounts.Draw(t, "account"), host, oneOf(t, "expect", "Deny", "Deny", "Deny", "Allow"))
}

func authorizationDocument(t *rapid.T, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: %s\n  namespace: %s\n",
		name, oneOf(t, "namespace", "istio-system", "istio-system", "n1"))
	if oneOf(t, "dry run", false, false, true) {
		b.WriteString("  annotations: {istio.io/dry-run: \"true\"}\n")
	}
	fmt.Fprintf(&b, "spec:\n  action: %s\n  rules:\n", oneOf(t, "action", "ALLOW", "ALLOW", "DENY", "AUDIT"))
	for range rapid.IntRange(1, 2).Draw(t, "rules") {
		fmt.Fprintf(&b, "  - from:\n    - source: {principals: [\"cluster.local/ns/n1/sa/%s\"]}\n", worldAccounts.Draw(t, "account"))
		if oneOf(t, "hosts", false, false, true) {
			fmt.Fprintf(&b, "    to: [{operation: {hosts: [%s]}}]\n", oneOf(t, "host", "a.x.org", "b.x.org"))
		}
		if oneOf(t, "when", true, true, false) {
			fmt.Fprintf(&b, "    when: [{key: connection.sni, values: %s}]\n", quoted(t, "values", worldHosts, 1, 2))
		}
	}
	return b.String()
}

// world is a directory that is edited.
type world struct {
	files    map[string][]string
	gateways string
}

func gatewayDocument(t *rapid.T, name string) string {
	return fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: %s}\nspec:\n  trustDomain: %s\n  listeners:\n  - {name: in, port: 15443, protocol: %s}\n%s%s",
		name, oneOf(t, "trust domain", "cluster.local", "cluster.local", "other.test"), oneOf(t, "protocol", "MutualTLS", "HTTP"),
		oneOf(t, "outbound", "", "", "  outbound: AllowAny\n")+oneOf(t, "mode", "", "", "  mode: Audit\n"), oneOf(t, "default", "", "", "  defaultAction: Allow\n"))
}

func newWorld(t *rapid.T) *world {
	w := &world{files: make(map[string][]string)}
	w.regroup(t)
	for range rapid.IntRange(0, 12).Draw(t, "documents") {
		w.add(t)
	}
	return w
}

func (w *world) regroup(t *rapid.T) {
	w.gateways = gatewayDocument(t, "egress")
	if rapid.Bool().Draw(t, "two groups") {
		w.gateways += "---\n" + gatewayDocument(t, "second")
	}
	if folder := oneOf(t, "delegated", "", "", "", "f1", "f1/g", "nowhere"); folder != "" {
		w.gateways += fmt.Sprintf("---\napiVersion: sallyport.dev/v1\nkind: Delegation\nmetadata: {name: team}\nspec: {folder: %s, namespaces: [n1, n2%s]%s}\n",
			folder, oneOf(t, "delegated namespace", "", ", istio-system"), oneOf(t, "delegated hosts", "", "", `, hosts: ["*.x.org", x.org]`))
	}
}

func (w *world) add(t *rapid.T) {
	file := worldFiles.Draw(t, "file")
	w.files[file] = append(w.files[file], document(t))
}

// pick is a document, if there is one.
func (w *world) pick(t *rapid.T) (file string, index int, ok bool) {
	var all []string
	for file, docs := range w.files {
		for range docs {
			all = append(all, file)
		}
	}
	if len(all) == 0 {
		return "", 0, false
	}
	slices.Sort(all)
	file = rapid.SampledFrom(all).Draw(t, "file")
	return file, rapid.IntRange(0, len(w.files[file])-1).Draw(t, "document"), true
}

// edit changes something.
func (w *world) edit(t *rapid.T, now *time.Time) {
	what := oneOf(t, "edit", "add", "add", "remove", "remove", "replace", "replace", "replace", "words", "move", "swap", "rename", "line", "time", "time back", "groups", "kustomization", "nothing")
	file, i, ok := w.pick(t)
	docs := w.files[file]
	switch {
	case what == "add":
		w.add(t)
	case what == "time":
		*now = now.Add(oneOf(t, "passes", time.Hour, 24*time.Hour, 20*24*time.Hour))
	case what == "time back":
		if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
			*now = now.Add(-time.Hour)
		}
	case what == "groups":
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 {
			w.regroup(t)
		}
	case what == "kustomization":
		const file = "f2/kustomization.yaml"
		if w.files[file] != nil {
			delete(w.files, file)
			break
		}
		w.files[file] = []string{fmt.Sprintf("namespace: %s\nresources: [e.yaml]\n", worldSpaces.Draw(t, "namespace"))}
	case !ok || what == "nothing":
	case what == "remove":
		w.files[file] = slices.Delete(slices.Clone(docs), i, i+1)
	case what == "replace":
		w.files[file] = slices.Replace(slices.Clone(docs), i, i+1, document(t))
	case what == "words":
		from, to := oneOf(t, "from", "s1", "s2", "Allow", "a.x.org", "one"), oneOf(t, "to", "s1", "s2", "Deny", "b.x.org", "two")
		w.files[file] = slices.Replace(slices.Clone(docs), i, i+1, strings.Replace(docs[i], from, to, 1))
	case what == "move":
		w.files[file] = slices.Delete(slices.Clone(docs), i, i+1)
		other := worldFiles.Draw(t, "other")
		w.files[other] = slices.Insert(slices.Clone(w.files[other]), rapid.IntRange(0, len(w.files[other])).Draw(t, "at"), docs[i])
	case what == "swap":
		docs = slices.Clone(docs)
		j := rapid.IntRange(0, len(docs)-1).Draw(t, "with")
		docs[i], docs[j] = docs[j], docs[i]
		w.files[file] = docs
	case what == "rename":
		other := worldFiles.Draw(t, "other")
		w.files[file], w.files[other] = w.files[other], docs
	case what == "line":
		w.files[file] = slices.Replace(slices.Clone(docs), i, i+1, "# a line\n"+docs[i])
	}
	maps.DeleteFunc(w.files, func(_ string, docs []string) bool { return len(docs) == 0 })
}

func (w *world) tree() source.Tree {
	files := []source.File{{Path: "gateways.yaml", Data: []byte(w.gateways)}}
	for path, docs := range w.files {
		text := strings.Join(docs, "---\n")
		if strings.HasSuffix(path, ".json") {
			text = fmt.Sprintf(`{"apiVersion": "sallyport.dev/v1", "kind": "Destination", "metadata": {"name": "json"}, "spec": {"hosts": ["j%d.x.org"]}}`, len(docs))
		}
		files = append(files, source.File{Path: path, Data: []byte(text)})
	}
	return source.NewTree(files)
}

// TestAnEditIsALoad edits random directories, and compares what a Loader makes of
// each with what one makes that saw nothing before.
func TestAnEditIsALoad(t *testing.T) {
	good := 0
	rapid.Check(t, func(t *rapid.T) {
		w, at := newWorld(t), now
		var loader policy.Loader
		var last policy.Result
		var lastAt time.Time
		var whole map[string][]string // the files that compiled
		for range rapid.IntRange(20, 40).Draw(t, "edits") {
			tree := w.tree()
			got, want := loader.Next(tree, at), policy.LoadTree(tree, at)
			requireSame(t, want, got)
			if got.Model != nil {
				good++
				if last.Model != nil && !at.Before(lastAt) && slices.Equal(last.Documents.Delegations, got.Documents.Delegations) {
					requireKept(t, last, got)
				}
				last, lastAt = got, at
				whole = maps.Clone(w.files)
			} else if oneOf(t, "correct it", true, true, true, false) {
				w.files = maps.Clone(whole)
			}
			if w.files == nil {
				w.files = make(map[string][]string)
			}
			w.edit(t, &at)
		}
	})
	t.Logf("%d directories compiled", good)
	require.Positive(t, good)
}

// requireSame compares everything that can be seen of two results.
func requireSame(t *rapid.T, want, got policy.Result) {
	require.Equal(t, want.Diagnostics, got.Diagnostics)
	require.Equal(t, want.Documents, got.Documents)
	require.Equal(t, want.Digest, got.Digest)
	if diff := cmp.Diff(want.Model, got.Model, sameModel()...); diff != "" {
		t.Fatalf("the models differ: %s", diff)
	}
	if want.Model == nil {
		return
	}
	hosts, rules := got.Model.Count()
	wantHosts, wantRules := counted(want.Model)
	require.Equal(t, wantHosts, hosts)
	require.Equal(t, wantRules, rules)
	for i, g := range want.Model.Gateways {
		requireSameAnswers(t, g, got.Model.Gateways[i])
	}
}

// counted is Model.Count, one by one.
func counted(m *model.Model) (hosts, rules int) {
	patterns, ids := make(map[hostname.Pattern]bool), make(map[model.RuleID]bool)
	for _, g := range m.Gateways {
		for _, e := range g.Entries {
			patterns[e.Pattern] = true
		}
		for _, namespace := range []string{"n1", "n2", "istio-system"} {
			for _, name := range "abcdef" {
				for index := range 3 {
					id := model.RuleID{Namespace: namespace, Policy: string(name), Index: index}
					if r, _ := g.FindRule(id); r != nil && !r.Audit {
						ids[id] = true
					}
				}
			}
		}
	}
	return len(patterns), len(ids)
}

func sameModel() []cmp.Option {
	return []cmp.Option{
		cmpopts.IgnoreUnexported(model.Gateway{}),
		cmpopts.EquateComparable(hostname.Pattern{}, netip.Addr{}, netip.Prefix{}, netip.AddrPort{}),
	}
}

// requireSameAnswers compares what the look-ups find.
func requireSameAnswers(t *rapid.T, want, got *model.Gateway) {
	for _, rules := range append([][]*model.Rule{want.Audit}, rulesIn(want)...) {
		for _, r := range rules {
			x, _ := want.FindRule(r.ID)
			y, at := got.FindRule(r.ID)
			require.Equal(t, x, y)
			require.Equal(t, x.Origin, at)
		}
	}
	for _, e := range got.Entries {
		require.Same(t, e, got.LookupPattern(e.Pattern))
	}
	for _, host := range worldQuestions {
		if x := want.Lookup(host); x == nil {
			require.Nil(t, got.Lookup(host))
		} else {
			require.Equal(t, x.Pattern, got.Lookup(host).Pattern)
		}
		for _, principal := range []string{"", "spiffe://cluster.local/ns/n1/sa/s1", "spiffe://cluster.local/ns/n2/sa/s2"} {
			require.Equal(t, want.Explain(principal, string(host)), got.Explain(principal, string(host)))
		}
	}
	for _, id := range []model.RuleID{{Namespace: "n1", Policy: "a"}, {Namespace: "n2", Policy: "b", Index: 1}, {Namespace: "istio-system", Policy: "c"}} {
		x, _ := want.FindRule(id)
		y, _ := got.FindRule(id)
		require.Equal(t, x, y)
	}
}

func rulesIn(g *model.Gateway) [][]*model.Rule {
	var out [][]*model.Rule
	for _, e := range g.Entries {
		out = append(out, e.Rules, e.Overlapping)
	}
	return out
}

// requireKept looks for entries that are the same and were made anew, which the
// translation would have to compare.
func requireKept(t *rapid.T, before, after policy.Result) {
	if !slices.Equal(before.Documents.Gateways, after.Documents.Gateways) || len(before.Model.Gateways) != len(after.Model.Gateways) {
		return
	}
	for i, g := range before.Model.Gateways {
		for _, e := range after.Model.Gateways[i].Entries {
			if old := g.LookupPattern(e.Pattern); old != nil && old != e && cmp.Equal(old, e, sameModel()...) {
				t.Fatalf("the entry %s did not change, and was made anew", e.Pattern)
			}
		}
	}
}
