package suggest_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/suggest"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func file(name, text string) source.File {
	return source.File{Path: name, Data: []byte(text), Digest: sha256.Sum256([]byte(text))}
}

func gateway(name, trustDomain, more string) string {
	return fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: %s}\nspec:\n  trustDomain: %s\n"+
		"  listeners: [{name: in, port: 15443, protocol: MutualTLS}]\n%s", name, trustDomain, more)
}

// loaded is the policy of some files, which must be good.
func loaded(t require.TestingT, files ...source.File) policy.Result {
	r := policy.LoadTree(source.NewTree(files), now)
	require.NoError(t, r.Diagnostics.Err())
	return r
}

// suggested is the text of a suggestion. It is laid out as `fmt` does it.
func suggested(t require.TestingT, observed []suggest.Observation, o suggest.Options) (suggest.Suggestion, string) {
	s := suggest.Suggest(observed, o)
	text, err := s.Text()
	require.NoError(t, err)
	if len(s.Policies) > 0 {
		var f layout.Formatter
		again, diags := f.Format(file("a.yaml", text))
		require.NoError(t, diags.Err())
		require.Equal(t, text, string(again))
	}
	for _, c := range text {
		require.True(t, c == '\n' || c >= ' ' && c < 0x7f || c == '…', "%q in %s", c, text)
	}
	return s, text
}

func allowed(observed ...string) []suggest.Observation {
	var out []suggest.Observation
	for _, o := range observed {
		principal, host, _ := strings.Cut(o, " ")
		if principal != "-" {
			principal = "spiffe://" + principal
		} else {
			principal = ""
		}
		out = append(out, suggest.Observation{
			Group: "egress", Principal: principal, Host: host, Verdict: model.Allow, Reason: model.AllowRule,
			First: now.Add(-time.Hour), Last: now, Count: 1,
		})
	}
	return out
}

// What is observed of a world in which names meet: some are hosts, some are not.
var (
	genHost = rapid.OneOf(
		rapid.SampledFrom([]string{"a.x.org", "b.x.org", "c.a.x.org", "x.org", "y.org", "A.x.org", "xn--bcher-kva.example", "_dmarc.x.org", "no", "null", "y"}),
		rapid.SampledFrom([]string{"*.x.org", "*", "x.*", "invalid:..x.org", "a.x.org.", "192.0.2.1", "[::1]", "xn--a", "a..x.org", "-a.x.org", "", "a.x.org\n- action: Allow", "a.x.org #",
			"é.x.org", "K.org", "a.x.org: {}", "\x1b[2Ja.x.org", "\u202eorg.x.a", "'", `"`, "\xff.x.org", strings.Repeat("a", 300) + ".org"}),
		rapid.String(),
	)
	genPrincipal = rapid.OneOf(
		rapid.SampledFrom([]string{"spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s2", "spiffe://td/ns/n2/sa/s1", "spiffe://td/ns/no/sa/null", "spiffe://td/ns/1/sa/0x1", "spiffe://td/batch/B_1",
			"spiffe://td/ns/N_1/sa/s1", "spiffe://td/ns/n1/sa/S_1"}),
		rapid.SampledFrom([]string{"", "*", "spiffe://td/*", "spiffe://td/ns/n1/*", "spiffe://td/ns/n1/sa/*", "spiffe://td", "spiffe://td/ns/n1/sa/s1\n", "td/ns/n1/sa/s1", "spiffe://*/ns/n1/sa/s1",
			"spiffe://td/ns/n1/sa/s1#", "spiffe://td/ns/n1/sa/é", "spiffe:///ns/n1/sa/s1", "spiffe://td/ns//sa/s1", "spiffe://td/ns/../sa/s1", "spiffe://TD/ns/n1/sa/s1"}),
		rapid.String(),
	)
	genReason = rapid.SampledFrom([]model.Reason{model.AllowRule, model.DenyRule, model.NoAllowRule, model.NotRegistered, model.NotExported, model.DefaultAction, "private-address", "no-address", "bad-server-name"})
)

// observation is a random one.
func observation(t *rapid.T) suggest.Observation {
	o := suggest.Observation{
		Group: rapid.SampledFrom([]string{"egress", "second", "unknown"}).Draw(t, "group"), Principal: genPrincipal.Draw(t, "principal"), Host: genHost.Draw(t, "host"),
		Via: rapid.SampledFrom(model.Ways()).Draw(t, "via"), Verdict: rapid.SampledFrom([]model.Verdict{model.Allow, model.Allow, model.Deny}).Draw(t, "verdict"),
		Reason: genReason.Draw(t, "reason"), Count: rapid.Uint64Range(0, 3).Draw(t, "count"),
		First: now.Add(-time.Hour), Last: now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(t, "ago")) * time.Minute),
	}
	if o.Verdict == model.Allow && rapid.Bool().Draw(t, "audited") {
		o.AuditVerdict, o.AuditReason = new(model.Verdict), genReason.Draw(t, "audit reason")
		if o.AuditReason == model.AllowRule {
			*o.AuditVerdict = model.Allow
		}
	}
	return o
}

type asked struct {
	principal string
	host      hostname.Name
}

// wanted is the set of pairs that the observations are of, one by one: the last word is
// that of a Deny rule, or of the guard, or else it was allowed once.
func wanted(all []suggest.Observation) map[asked]bool {
	last := make(map[asked][2]time.Time) // allowed, and refused for good
	for _, o := range all {
		name, err := hostname.FromWire(o.Host)
		if err != nil || !isWorkload(o.Principal) {
			continue
		}
		if p, err := hostname.ParsePattern(string(name)); err != nil || p.String() != string(name) {
			continue
		}
		reason := o.Reason
		if o.Verdict == model.Allow {
			if reason = model.AllowRule; o.AuditVerdict != nil {
				reason = o.AuditReason
			}
		}
		key, which := asked{o.Principal, name}, 1
		switch reason {
		case model.AllowRule, model.NoAllowRule, model.NotRegistered, model.DefaultAction, "private-address", "no-address", "bad-server-name":
			if o.Verdict == model.Allow {
				which = 0
			} else if reason != "private-address" && reason != "no-address" {
				continue
			}
		}
		times := last[key]
		if times[which].Before(o.Last) {
			times[which] = o.Last
		}
		last[key] = times
	}
	out := make(map[asked]bool)
	for key, times := range last {
		if !times[0].IsZero() && !times[1].After(times[0]) {
			out[key] = true
		}
	}
	return out
}

// isWorkload is by the identities that a policy file may name, one by one.
func isWorkload(principal string) bool {
	rest, ok := strings.CutPrefix(principal, "spiffe://")
	domain, path, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || domain == "" || strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
			return false
		}
	}
	return true
}

// questions are all that could be asked of a world of observations: what was observed,
// what lies beside it, and who else there is.
func questions(all []suggest.Observation) []asked {
	principals := []string{"", "spiffe://td/ns/n1/sa/s3", "spiffe://td/ns/n3/sa/s1", "spiffe://td/x", "spiffe://other/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s1x"}
	hosts := []hostname.Name{"x.org", "a.x.org", "z.x.org", "z.a.x.org", "org", "no", "other.net"}
	for _, o := range all {
		principals = append(principals, o.Principal)
		if name, err := hostname.FromWire(o.Host); err == nil {
			hosts = append(hosts, name, "z."+name)
		}
	}
	slices.Sort(principals)
	slices.Sort(hosts)
	var out []asked
	for _, p := range slices.Compact(principals) {
		for _, h := range slices.Compact(hosts) {
			out = append(out, asked{p, h})
		}
	}
	return out
}

// TestSuggestedIsWhatWasSeen suggests from random observations, and asks the compiled
// suggestion about everybody and everything around them.
func TestSuggestedIsWhatWasSeen(t *testing.T) {
	some := 0
	rapid.Check(t, func(t *rapid.T) {
		observed := rapid.SliceOfN(rapid.Custom(observation), 0, 30).Draw(t, "observed")
		want := wanted(observed)
		some += len(want)
		files := []source.File{file("gateway.yaml", gateway("egress", "td", "")+"---\n"+gateway("second", "td", ""))}
		var options suggest.Options
		if rapid.Bool().Draw(t, "with the policy") {
			r := loaded(t, files...)
			options.Model, options.Documents = r.Model, r.Documents
		}
		_, text := suggested(t, observed, options)
		shuffled := rapid.Permutation(observed).Draw(t, "in another order")
		_, again := suggested(t, shuffled, options)
		require.Equal(t, text, again)
		r := loaded(t, append(files, file("observed.yaml", text))...)
		for _, g := range r.Model.Gateways {
			for _, q := range questions(observed) {
				require.Equal(t, want[q], g.Decide(q.principal, q.host).Verdict == model.Allow, "%s to %s: %s", q.principal, q.host, text)
			}
		}
	})
	require.Positive(t, some)
}

// TestSuggestedBesideAPolicy adds a suggestion to the policy that it was made for: all
// that was seen, and that no Deny rule is about, is allowed then; nothing else is that
// was not before.
func TestSuggestedBesideAPolicy(t *testing.T) {
	added, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		files := []source.File{file("gateway.yaml", gateway("egress", "td", "")+"---\n"+gateway("second", rapid.SampledFrom([]string{"td", "other"}).Draw(t, "second"), ""))}
		files = append(files, file("policies.yaml", drawPolicies(t)))
		before := policy.LoadTree(source.NewTree(files), now)
		if before.Model == nil {
			return // a rule whose exceptions leave nothing
		}
		observed := rapid.SliceOfN(rapid.Custom(observation), 0, 20).Draw(t, "observed")
		want := wanted(observed)
		s, text := suggested(t, observed, suggest.Options{Model: before.Model, Documents: before.Documents})
		after := loaded(t, append(files, file("observed.yaml", text))...)
		for i, g := range after.Model.Gateways {
			for _, q := range questions(observed) {
				was, is := before.Model.Gateways[i].Decide(q.principal, q.host), g.Decide(q.principal, q.host)
				if was.Verdict == model.Allow {
					require.Equal(t, model.Allow, is.Verdict)
					kept++
					continue
				}
				if is.Verdict == model.Allow {
					require.True(t, want[q], "%s to %s was not seen: %s", q.principal, q.host, text)
					added++
				}
			}
		}
		for q := range want {
			for _, g := range after.Model.Gateways {
				switch d := g.Decide(q.principal, q.host); {
				case !isAt(observed, q, g.Name):
				case d.Reason == model.DenyRule || d.Reason == model.NotExported:
					require.Contains(t, text, "Left out")
				case isLeft(s, q): // for what another gateway says
				default:
					require.Equal(t, model.AllowRule, d.Reason, "%s to %s: %s", q.principal, q.host, text)
				}
			}
		}
	})
	require.Positive(t, added)
	require.Positive(t, kept)
}

// isAt reports whether a pair was allowed at a gateway.
func isAt(all []suggest.Observation, q asked, gateway string) bool {
	return slices.ContainsFunc(all, func(o suggest.Observation) bool {
		return o.Group == gateway && o.Principal == q.principal && strings.EqualFold(o.Host, string(q.host)) && o.Verdict == model.Allow
	})
}

// isLeft reports whether a pair was left out for a rule's sake.
func isLeft(s suggest.Suggestion, q asked) bool {
	return slices.ContainsFunc(s.Left, func(l suggest.Left) bool {
		return slices.ContainsFunc(l.Pairs, func(p suggest.LeftPair) bool {
			return p.At != "" && p.Principal == q.principal && p.Host == string(q.host)
		})
	})
}

// drawPolicies are some policies about the observed names, which compile.
func drawPolicies(t *rapid.T) string {
	return rapid.Custom(anyPolicies).Filter(func(text string) bool {
		return policy.LoadTree(source.NewTree([]source.File{file("gateway.yaml", gateway("egress", "td", "")), file("policies.yaml", text)}), now).Model != nil
	}).Draw(t, "the policies")
}

func anyPolicies(t *rapid.T) string {
	var b strings.Builder
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		namespace := rapid.SampledFrom([]string{"", "  namespace: n1\n", "  namespace: n2\n"}).Draw(t, "namespace")
		fmt.Fprintf(&b, "---\napiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata:\n  name: %s\n%sspec:\n  mode: %s\n  rules:\n",
			[]string{"observed", "observed-2", "c"}[i], namespace, rapid.SampledFrom([]string{"Enforce", "Enforce", "Audit"}).Draw(t, "mode"))
		for range rapid.IntRange(1, 2).Draw(t, "rules") {
			fmt.Fprintf(&b, "  - action: %s\n", rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "action"))
			if namespace != "" && rapid.Bool().Draw(t, "from") {
				b.WriteString(rapid.SampledFrom([]string{"    from: [{serviceAccount: s1}]\n", "    from: [{serviceAccount: s1}, {serviceAccount: s2}]\n"}).Draw(t, "whom"))
			}
			hosts := rapid.SampledFrom([]string{`"*.x.org"`, "a.x.org", "b.x.org", `"*.a.x.org"`, "x.org", `"*"`})
			fmt.Fprintf(&b, "    to: [{hosts: [%s]", strings.Join(rapid.SliceOfNDistinct(hosts, 1, 3, rapid.ID).Draw(t, "hosts"), ", "))
			if rapid.IntRange(0, 3).Draw(t, "excepts") == 0 {
				fmt.Fprintf(&b, ", except: [%s]", hosts.Draw(t, "except"))
			}
			b.WriteString("}]\n")
		}
	}
	if rapid.Bool().Draw(t, "destination") {
		b.WriteString("---\napiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: d}\nspec: {hosts: [\"*.x.org\"], exportTo: [n1]}\n")
	}
	return b.String()
}
