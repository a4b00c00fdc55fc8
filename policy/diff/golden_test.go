package diff_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/diff"
	"sallyport/policy/model"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// The files in testdata have two policies and what is said about the way from
// one to the other, and back.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			text := string(data)
			before, rest, ok := strings.Cut(text, "\n-- after --\n")
			require.True(t, ok)
			after, want, _ := strings.Cut(rest, "\n-- want --\n")
			x, y := load(t, "old.yaml", before), load(t, "new.yaml", after)
			got := written(t, diff.Compare(x, y, diff.Options{})) + "-- back --\n" + written(t, diff.Compare(y, x, diff.Options{}))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(before+"\n-- after --\n"+after+"\n-- want --\n"+got), 0o600))
				return
			}
			require.Empty(t, cmp.Diff(want, got), "run the test with -update if this is meant")
		})
	}
}

func load(t *testing.T, name, text string) *model.Model {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	var l policy.Loader
	r := l.Load(dir, now)
	require.NoError(t, r.Diagnostics.Err())
	return r.Model
}

func written(t *testing.T, r *diff.Report) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b, diff.Show{}))
	return b.String()
}

const manyYAML = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: td
  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: base}
spec:
  rules: [{action: Allow, from: [{namespace: base}], to: [{hosts: [base.example.com]}]}]
`

// policyFor is a policy of its own for one service account and some hosts.
func policyFor(name, account string, hosts ...string) string {
	return fmt.Sprintf("---\napiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: %s}\nspec:\n"+
		"  rules: [{action: Allow, from: [{principal: spiffe://td/ns/a/sa/%s}], to: [{hosts: [%s]}]}]\n", name, account, strings.Join(hosts, ", "))
}

func accessLines(t *testing.T, r *diff.Report, full bool) []string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.WriteText(&b, diff.Show{Full: full}))
	var out []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "  ") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// What is alike is one line, unless everything is asked for.
func TestManyAreFew(t *testing.T) {
	var hosts, names []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprintf("h%03d.example.com", i))
		names = append(names, fmt.Sprintf("p%03d", i))
	}
	base := load(t, "old.yaml", manyYAML)

	oneRule := diff.Compare(base, load(t, "new.yaml", manyYAML+policyFor("p", "x", hosts...)), diff.Options{})
	lines := accessLines(t, oneRule, false)
	require.Equal(t, []string{"+ spiffe://td/ns/a/sa/x may now reach h000.example.com, h001.example.com, h002.example.com and 97 more   " +
		"allow by ns[]-policy[p]-rule[0] new.yaml:18:11 (was refused: host-not-registered)"}, lines)
	lines = accessLines(t, oneRule, true)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "h098.example.com, h099.example.com")

	ruleEach, accountEach := manyYAML, manyYAML
	for i := range 100 {
		ruleEach += policyFor(names[i], "x", hosts[i])
		accountEach += policyFor(names[i], names[i], hosts[0])
	}
	byRule := diff.Compare(base, load(t, "new.yaml", ruleEach), diff.Options{})
	lines = accessLines(t, byRule, false)
	require.Equal(t, []string{"+ spiffe://td/ns/a/sa/x may now reach h000.example.com, h001.example.com, h002.example.com and 97 more   " +
		"allow by ns[]-policy[p000]-rule[0] new.yaml:18:11 and 99 more like it (was refused: host-not-registered)"}, lines)
	require.Len(t, accessLines(t, byRule, true), 100)

	byAccount := diff.Compare(base, load(t, "new.yaml", accountEach), diff.Options{})
	lines = accessLines(t, byAccount, false)
	require.Equal(t, []string{"+ spiffe://td/ns/a/sa/p000, spiffe://td/ns/a/sa/p001, spiffe://td/ns/a/sa/p002 and 97 more may now reach h000.example.com   " +
		"allow by ns[]-policy[p000]-rule[0] new.yaml:18:11 and 99 more like it (was refused: host-not-registered)"}, lines)
	require.Len(t, accessLines(t, byAccount, true), 100)
}

// What a file says must not become something else in a comment.
func TestMarkdown(t *testing.T) {
	base := load(t, "old.yaml", manyYAML)
	r := diff.Compare(base, load(t, "new.yaml", manyYAML+policyFor("p", "x", "h.example.com")), diff.Options{})
	r.Relocate(func(p diag.Position) diag.Position { return p }, func(p diag.Position) diag.Position {
		p.File = "a|b`<img>@all\n" + p.File
		return p
	})
	var b bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&b, diff.Show{}))
	require.Equal(t, "### Egress policy: widened: 1 gain\n\nGateway `egress`\n\n"+
		"| | who | hosts | now | before |\n|---|---|---|---|---|\n"+
		"| `+` | `spiffe://td/ns/a/sa/x` | `h.example.com` | `allow by ns[]-policy[p]-rule[0] a\\|b'<img>@all new.yaml:18:11` | `refused: host-not-registered` |\n", b.String())
}

func TestJSON(t *testing.T) {
	base := load(t, "old.yaml", manyYAML)
	data, err := json.Marshal(diff.Compare(base, base, diff.Options{}))
	require.NoError(t, err)
	require.JSONEq(t, `{"changed": false, "widened": false, "gateways": []}`, string(data))

	data, err = json.Marshal(diff.Compare(base, load(t, "new.yaml", manyYAML+policyFor("p", "x", "h.example.com")), diff.Options{}))
	require.NoError(t, err)
	require.JSONEq(t, `{"changed": true, "widened": true, "gateways": [{"name": "egress", "access": [{
		"kind": "gained", "principals": [{"principal": "spiffe://td/ns/a/sa/x"}], "hosts": [{"host": "h.example.com"}], "ways": ["TLS"], "inAllWays": true,
		"before": {"verdict": "Deny", "reason": "host-not-registered"},
		"after": {"verdict": "Allow", "reason": "allow-rule", "rule": "ns[]-policy[p]-rule[0]", "position": {"file": "new.yaml", "line": 18, "column": 11}},
		"example": {"principal": "spiffe://td/ns/a/sa/x", "host": "h.example.com"}}]}]}`, string(data))
}
