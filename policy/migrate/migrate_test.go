package migrate_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/diff"
	"sallyport/policy/layout"
	"sallyport/policy/migrate"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
}

func fileOf(name, text string) source.File {
	return source.File{Path: name, Data: []byte(text), Digest: sha256.Sum256([]byte(text))}
}

func migrated(t failer, dir string, options migrate.Options) (*migrate.Result, diag.List) {
	t.Helper()
	tree, diags := source.Read(dir, source.Limits{})
	require.NoError(t, diags.Err())
	options.Now = now
	return migrate.Istio(tree.Files, options)
}

// loaded writes a result into a directory and loads it as the control plane
// does.
func loaded(t failer, r *migrate.Result) *model.Model {
	t.Helper()
	dir, err := os.MkdirTemp("", "migrate")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	for _, f := range r.Files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, f.Path), f.Data, 0o600))
	}
	return load(t, dir)
}

func load(t failer, dir string) *model.Model {
	t.Helper()
	var l policy.Loader
	result := l.Load(dir, now)
	require.NoError(t, result.Diagnostics.Err())
	return result.Model
}

// sameAnswers asks both gateways everything in a small universe.
func sameAnswers(t failer, before, after *model.Model, principals, hosts []string) {
	t.Helper()
	require.Len(t, before.Gateways, 1)
	require.Len(t, after.Gateways, 1)
	for _, host := range hosts {
		for _, principal := range principals {
			for _, way := range model.Ways() {
				q := model.Request{Principal: principal, Way: way, Host: hostname.Name(host)}
				want, got := before.Gateways[0].Answer(q), after.Gateways[0].Answer(q)
				require.Equal(t, want.Verdict, got.Verdict, "%q → %s by %s: %s, then %s", principal, host, way, want.Reason, got.Reason)
				require.Equal(t, want.AuditVerdict, got.AuditVerdict, "%q → %s by %s, audited: %s, then %s", principal, host, way, want.AuditReason, got.AuditReason)
				if want.Verdict == model.Allow {
					require.Equal(t, want.Entry.Dial, got.Entry.Dial, "%s", host)
				}
			}
		}
	}
}

// laidOut fails if `fmt` would change what was written.
func laidOut(t failer, r *migrate.Result) {
	t.Helper()
	var formatter layout.Formatter
	for _, f := range r.Files {
		text, diags := formatter.Format(f)
		require.NoError(t, diags.Err())
		require.Equal(t, string(f.Data), string(text), f.Path)
	}
}

// The examples stand there in both languages. Istio's, written anew, means the
// same as ours that a person wrote.
func TestExamples(t *testing.T) {
	dirs, err := filepath.Glob("../../examples/*/*/istio")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, dir := range dirs {
		native := filepath.Join(filepath.Dir(dir), "native")
		t.Run(strings.TrimPrefix(filepath.Dir(dir), "../../examples/"), func(t *testing.T) {
			r, diags := migrated(t, dir, migrate.Options{})
			require.NoError(t, diags.Err())
			require.True(t, r.Report.Equal())
			require.Empty(t, r.Report.Kept)
			laidOut(t, r)
			report := diff.Compare(load(t, native), loaded(t, r), diff.Options{AllWays: true})
			for _, g := range report.Gateways {
				require.Empty(t, g.Access)
			}
		})
	}
}

// What does not fit into one file is written into several, always the same ones.
func TestManyDocuments(t *testing.T) {
	var files []source.File
	for i := range 5 { // each with as many commas as a file may have, or nearly so
		files = append(files, fileOf(fmt.Sprintf("tests-%d.yaml", i), fmt.Sprintf("# %s\napiVersion: sallyport.dev/v1\nkind: PolicyTest\nmetadata: {name: t%d}\nspec:\n  tests:\n  - {host: h.example.com, expect: Deny}\n", strings.Repeat(",", 140_000), i)))
	}
	var names []string
	for range 2 {
		r, diags := migrate.Istio(files, migrate.Options{Now: now, Gateway: migrate.Gateway{Name: "egress", TrustDomain: "cluster.local"}})
		require.NoError(t, diags.Err())
		require.True(t, r.Report.Equal())
		names = nil
		for _, f := range r.Files {
			names = append(names, f.Path)
		}
		require.Equal(t, []string{"gateway.yaml", "unchanged.yaml", "unchanged-2.yaml", "unchanged-3.yaml"}, names)
	}
}

// A defaultAction that had no say is another one afterwards: the report says so,
// as a comparison shows it.
func TestDefaultActionIsNoted(t *testing.T) {
	const policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: some, namespace: istio-system}\nspec: {rules: [{when: [{key: connection.sni, values: [a.org]}]}]}\n"
	const gateway = "---\napiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: egress}\nspec:\n  trustDomain: cluster.local\n  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]\n"
	for action, noted := range map[string]bool{"Allow": true, "Deny": false} {
		r, diags := imported(t, "a.yaml", policy+gateway+"  defaultAction: "+action+"\n")
		require.NoError(t, diags.Err())
		require.True(t, r.Report.Equal())
		require.Equal(t, noted, strings.Contains(strings.Join(r.Report.Notes, "\n"), "the EgressGateway egress says defaultAction: Deny instead of Allow"), r.Report.Notes)
	}
}
