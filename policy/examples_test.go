package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
)

// step is a directory of an example that follows an article, and what may be
// reached then.
type step struct {
	dir string
	// tls and http are the words NAMESPACE/SERVICEACCOUNT>HOST of what is allowed
	// with TLS of the workload's own, also inside CONNECT, and as plain HTTP. Hosts
	// are by their short names; * stands for anything asked about.
	tls, http string
}

// asked is who asks for what in the steps of an article.
type asked struct {
	who   []string
	hosts map[string]hostname.Name
	steps []step
}

func articles() map[string]asked {
	workloads := []string{"default/sleep", "otherns/sleep", "otherns/sleep-google", "otherns/sleep-yahoo", "thirdns/sleep"}
	const (
		known       = "*>google *>yahoo"
		byNamespace = "default/sleep>google otherns/sleep>yahoo otherns/sleep-google>yahoo otherns/sleep-yahoo>yahoo thirdns/sleep>google thirdns/sleep>yahoo"
		byAccount   = "default/sleep>google default/sleep>yahoo otherns/sleep>google otherns/sleep>yahoo otherns/sleep-google>google otherns/sleep-yahoo>yahoo " +
			"thirdns/sleep>google thirdns/sleep>yahoo"
		below = "*>en *>de *>fr *>es *>mobile"
		// The guide's DestinationRule with the subset is in the namespace default.
		belowThere = "default/sleep>en default/sleep>de default/sleep>fr default/sleep>es default/sleep>mobile " +
			"default/sleep-us>en default/sleep-us>de default/sleep-us>fr default/sleep-us>es default/sleep-us>mobile " +
			"default/sleep-canada>en default/sleep-canada>de default/sleep-canada>fr default/sleep-canada>es default/sleep-canada>mobile"
	)
	return map[string]asked{
		"tetrate": {
			who:   workloads,
			hosts: map[string]hostname.Name{"google": "developers.google.com", "yahoo": "developer.yahoo.com", "other": "www.example.com"},
			steps: []step{
				{dir: "01-allow-any", tls: "*>google *>yahoo *>other"},
				{dir: "02-registry-only"},
				{dir: "03-serviceentry-per-namespace", tls: "default/sleep>google default/sleep>yahoo otherns/sleep>google otherns/sleep>yahoo " +
					"otherns/sleep-google>google otherns/sleep-google>yahoo otherns/sleep-yahoo>google otherns/sleep-yahoo>yahoo"},
				{dir: "04-through-the-gateway", tls: known, http: known},
				{dir: "05-allow-nothing"},
				{dir: "05-allow-nothing-but-google", tls: "default/sleep>google", http: "default/sleep>google"},
				{dir: "06-per-namespace", tls: byNamespace, http: byNamespace},
				{dir: "07-per-service-account", tls: byAccount, http: byAccount},
				{dir: "08-passthrough", tls: byAccount},
			},
		},
		"wikipedia-istio": {
			who: []string{"default/sleep", "default/sleep-us", "default/sleep-canada", "otherns/sleep"},
			hosts: map[string]hostname.Name{
				"en": "en.wikipedia.org", "de": "de.wikipedia.org", "fr": "fr.wikipedia.org", "es": "es.wikipedia.org",
				"mobile": "de.m.wikipedia.org", "top": "wikipedia.org", "other": "www.example.com",
			},
			steps: []step{
				{dir: "01-direct", tls: below},
				{dir: "02-common-server", tls: belowThere},
				{dir: "03-any-host", tls: belowThere},
				{dir: "04-all-but-english", tls: "default/sleep>de default/sleep>fr default/sleep>es default/sleep>mobile"},
				{dir: "05-by-service-account", tls: "default/sleep-us>en default/sleep-us>es default/sleep-canada>en default/sleep-canada>fr"},
			},
		},
	}
}

// allows reports whether a list has who and what.
func allows(list, who, host string) bool {
	words := strings.Fields(list)
	return slices.Contains(words, who+">"+host) || slices.Contains(words, "*>"+host)
}

// TestArticles loads the directories of the articles, in both languages: they say
// the same, and what the articles find.
func TestArticles(t *testing.T) {
	for article, a := range articles() {
		entries, err := os.ReadDir(filepath.Join("../examples", article))
		require.NoError(t, err)
		dirs := slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
		require.Len(t, dirs, len(a.steps), "the steps in examples/%s", article)
		for _, s := range a.steps {
			for _, language := range []string{"istio", "native"} {
				t.Run(filepath.Join(article, s.dir, language), func(t *testing.T) { a.check(t, s, filepath.Join("../examples", article, s.dir, language)) })
			}
		}
	}
}

func (a asked) check(t *testing.T, s step, dir string) {
	var l policy.Loader
	r := l.Load(dir, now)
	require.NoError(t, r.Diagnostics.Err())
	require.Len(t, r.Model.Gateways, 1)
	g := r.Model.Gateways[0]
	verdict := func(list, who, host string) model.Verdict {
		if allows(list, who, host) {
			return model.Allow
		}
		return model.Deny
	}
	for _, who := range a.who {
		namespace, account, _ := strings.Cut(who, "/")
		principal := model.NamespacePrefix("cluster.local", namespace) + "sa/" + account
		for short, host := range a.hosts {
			tls, http := verdict(s.tls, who, short), verdict(s.http, who, short)
			require.Equal(t, tls, g.Decide(principal, host).Verdict, "%s → %s, TLS", who, host)
			require.Equal(t, tls, g.DecideRequest(principal, true, string(host)+":443").Verdict, "%s → %s, CONNECT", who, host)
			require.Equal(t, http, g.DecideRequest(principal, false, string(host)).Verdict, "%s → %s, plain HTTP", who, host)
		}
	}
}

// TestTheArticlesLogLine is the name by which the article finds a denial in the
// gateway's log.
func TestTheArticlesLogLine(t *testing.T) {
	g := gatewayIn(t, "../examples/tetrate/06-per-namespace/istio")
	principal := model.NamespacePrefix("cluster.local", "default") + "sa/sleep"
	for _, d := range []model.Decision{g.Decide(principal, "developer.yahoo.com"), g.DecideRequest(principal, false, "developer.yahoo.com")} {
		require.Equal(t, model.DenyRule, d.Reason)
		require.Equal(t, "ns[istio-system]-policy[external-deny-developer-yahoo-com]-rule[0]", d.Rule.ID.String())
	}
}

// TestArticlesInBothLanguages compares how the hosts are reached.
func TestArticlesInBothLanguages(t *testing.T) {
	for article, a := range articles() {
		for _, s := range a.steps {
			t.Run(filepath.Join(article, s.dir), func(t *testing.T) {
				at := filepath.Join("../examples", article, s.dir)
				istio, native := gatewayIn(t, filepath.Join(at, "istio")), gatewayIn(t, filepath.Join(at, "native"))
				for _, host := range a.hosts {
					x, y := istio.Lookup(host), native.Lookup(host)
					if x == nil || y == nil {
						require.Equal(t, x == nil, y == nil, host)
						continue
					}
					require.Equal(t, x.Dial, y.Dial, host)
					require.Equal(t, x.ExportTo, y.ExportTo, host)
				}
			})
		}
	}
}

func gatewayIn(t *testing.T, dir string) *model.Gateway {
	t.Helper()
	var l policy.Loader
	r := l.Load(dir, now)
	require.NoError(t, r.Diagnostics.Err())
	return r.Model.Gateways[0]
}

// TestTheArticleFileByFile makes the third step of the Tetrate article in the
// order in which the article applies the files.
func TestTheArticleFileByFile(t *testing.T) {
	for _, language := range []string{"istio", "native"} {
		from := filepath.Join("../examples/tetrate/03-serviceentry-per-namespace", language)
		dir := t.TempDir()
		apply := func(path string) *model.Gateway {
			data, err := os.ReadFile(filepath.Join(from, path))
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, path), data, 0o600))
			return gatewayIn(t, dir)
		}
		apply("gateway.yaml")
		reach := func(g *model.Gateway) string {
			var out []string
			for _, namespace := range []string{"default", "otherns"} {
				for _, host := range []hostname.Name{"developers.google.com", "developer.yahoo.com"} {
					if g.Decide(model.NamespacePrefix("cluster.local", namespace)+"sa/sleep", host).Verdict == model.Allow {
						out = append(out, namespace+">"+string(host))
					}
				}
			}
			return strings.Join(out, " ")
		}
		require.Equal(t, "default>developers.google.com", reach(apply("default/google.yaml")), language)
		require.Equal(t, "default>developers.google.com otherns>developers.google.com", reach(apply("otherns/google.yaml")), language)
		require.Equal(t, "default>developers.google.com default>developer.yahoo.com otherns>developers.google.com", reach(apply("default/yahoo.yaml")), language)
		require.Equal(t, "default>developers.google.com default>developer.yahoo.com otherns>developers.google.com otherns>developer.yahoo.com", reach(apply("otherns/yahoo.yaml")), language)
	}
}
