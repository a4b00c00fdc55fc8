package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"sallyport/policy/diff"
	"sallyport/policy/migrate"
	"sallyport/policy/source"
)

const entryYAML = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wikipedia}
spec:
  hosts: [en.wikipedia.org]
  location: MESH_EXTERNAL
  ports: [{number: 443, name: tls, protocol: TLS}]
`

func TestImportIntoADirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("entry.yaml", []byte(entryYAML), 0o600))
	r := sallyport(t, "", "import", "istio", "-n", "default", "entry.yaml", "./entry.yaml", "--dir", "out/policies")
	require.Equal(t, exitOK, r.code, r)
	require.Empty(t, r.stderr)
	require.Contains(t, r.stdout, "converted  ServiceEntry default/wikipedia, entry.yaml:2:7: Destination default/wikipedia\n")
	require.Equal(t, exitOK, sallyport(t, "", "validate", "out/policies").code)

	r = sallyport(t, "", "import", "istio", "-n", "default", "entry.yaml", "-d", "out/policies")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "out/policies is not empty: destinations.yaml is there")
}

// What goes to standard output can be read again, with nothing else in it.
func TestImportFromStandardInput(t *testing.T) {
	r := sallyport(t, entryYAML, "import", "istio", "-n", "default", "--default-action", "Allow", "--outbound", "AllowAny", "-o", "json", "-")
	require.Equal(t, exitOK, r.code, r)
	require.Contains(t, r.stdout, "outbound: AllowAny\n  defaultAction: Allow\n---\n")
	require.True(t, strings.HasPrefix(r.stderr, "{\n  \"converted\": ["), r.stderr)

	again := sallyport(t, r.stdout, "import", "istio", "-")
	require.Equal(t, exitOK, again.code, again)
	require.Contains(t, again.stderr, "carried    Destination default/wikipedia, stdin:")

	r = sallyport(t, entryYAML, "import", "istio", "-")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "stdin:3:18: error: this ServiceEntry says no namespace")
	require.Empty(t, r.stdout)
}

// A result that would mean something else is not written, or not silently.
func TestImportOfSomethingElse(t *testing.T) {
	finish := func(force bool, gateways ...*diff.Gateway) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		cmd := &cobra.Command{RunE: doing(func(cmd *cobra.Command, _ []string) error {
			return finishImport(cmd, &migrate.Result{
				Files:  []source.File{fileOf("gateway.yaml", []byte("the result\n"))},
				Report: &migrate.Report{Differences: &diff.Report{Gateways: gateways}},
			}, "", force, "text")
		})}
		cmd.SetOut(&out)
		cmd.SetErr(&errs)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		code = execute(t.Context(), cmd, []string{})
		return code, out.String(), errs.String()
	}
	gain := &diff.Gateway{Name: "egress", Settings: []diff.Setting{{What: "dial", Effect: diff.Widened}}}
	loss := &diff.Gateway{Name: "egress", Settings: []diff.Setting{{What: "dial", Effect: diff.Narrowed}}}

	code, stdout, stderr := finish(false)
	require.Equal(t, exitOK, code)
	require.Equal(t, "the result\n", stdout)
	require.Contains(t, stderr, "means the same")

	code, stdout, stderr = finish(false, loss)
	require.Equal(t, exitInvalid, code)
	require.Equal(t, "the result\n", stdout)
	require.Contains(t, stderr, "does not mean the same")

	code, stdout, stderr = finish(false, gain)
	require.Equal(t, exitWidened, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "nothing is written")

	for _, g := range []*diff.Gateway{gain, loss} {
		code, stdout, stderr = finish(true, g)
		require.Equal(t, exitOK, code)
		require.Equal(t, "the result\n", stdout)
		require.Contains(t, stderr, "does not mean the same")
	}
}

func TestImportReadsFoldersAsTheyAre(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("istio", 0o700))
	require.NoError(t, os.WriteFile(filepath.Join("istio", "entry.yaml"), []byte(entryYAML), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join("istio", "kustomization.yaml"), []byte("namespace: otherns\nresources: [entry.yaml]\n"), 0o600))
	r := sallyport(t, "", "import", "istio", "-n", "default", "istio")
	require.Equal(t, exitOK, r.code, r)
	require.Contains(t, r.stdout, "namespace: otherns\n")
}

// A file that is not read, or of which nobody knows what it says, is not lost
// quietly.
func TestImportLosesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("istio", 0o700))
	require.NoError(t, os.WriteFile("istio/entry.yaml", []byte(entryYAML), 0o600))
	fails := func(code int, message string, args ...string) {
		t.Helper()
		r := sallyport(t, "", append([]string{"import", "istio", "-n", "default"}, args...)...)
		require.Equal(t, code, r.code, r)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, message)
	}
	require.NoError(t, os.WriteFile("istio/deny.YAML", []byte(entryYAML), 0o600))
	fails(exitInvalid, "istio/deny.YAML: error: is not read: policy files end in .yaml, .yml or .json, in lower case [unusual-extension]", "istio")
	require.NoError(t, os.Remove("istio/deny.YAML"))
	require.NoError(t, os.Symlink("nowhere.yaml", "istio/dang.yaml"))
	fails(exitInvalid, "istio/dang.yaml: error: ", "istio")
	require.NoError(t, os.Remove("istio/dang.yaml"))
	require.NoError(t, os.WriteFile("istio/list.yaml", []byte("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: security.istio.io/v1, kind: AuthorisationPolicy}\n"), 0o600))
	fails(exitInvalid, "istio/list.yaml:4:44: error: AuthorisationPolicy is no kind of security.istio.io", "istio")
}

func TestImportOfNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("empty", 0o700))
	require.NoError(t, os.WriteFile("a.yaml", []byte("kind: ConfigMap\napiVersion: v1\n---\nkind: Secret\napiVersion: v1\n"), 0o600))
	require.NoError(t, os.WriteFile("list.yaml", []byte("kind: List\napiVersion: v1\nitems: []\n"), 0o600))
	for _, c := range []struct{ arg, message string }{
		{"-", "there is no document in standard input that says who may reach what, or how: name the files"},
		{"empty", "there is no document in empty that says who may reach what, or how: name the files"},
		{"list.yaml", "there is no document in list.yaml that says who may reach what, or how: name the files"},
		{"a.yaml", "there is no document in a.yaml that says who may reach what, or how; left out: 2 documents of other kinds, such as the ConfigMap at a.yaml:1:7"},
	} {
		r := sallyport(t, "", "import", "istio", c.arg, "--dir", "out")
		require.Equal(t, exitInvalid, r.code, r)
		require.Empty(t, r.stdout)
		require.Contains(t, r.stderr, c.message)
		require.NoDirExists(t, "out")
	}
}

func TestImportChecksItsFlags(t *testing.T) {
	for flag, value := range map[string]string{"--namespace": "BAD ns", "--gateway-name": "a: b", "--trust-domain": `a"b`} {
		r := sallyport(t, entryYAML, "import", "istio", "-", flag, value)
		require.Equal(t, exitUsage, r.code, r)
		require.Contains(t, r.stderr, "sallyport: "+flag+": ")
		require.Contains(t, r.stderr, " is not a ")
	}
	r := sallyport(t, entryYAML, "import", "istio", "-")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "or name it with -n, as for kubectl [missing-namespace]")
}

// What is named twice is read once.
func TestImportReadsFilesOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("istio/sub", 0o700))
	require.NoError(t, os.WriteFile("istio/entry.yaml", []byte(entryYAML), 0o600))
	require.NoError(t, os.Symlink("istio/entry.yaml", "link.yaml"))
	here, err := os.Getwd()
	require.NoError(t, err)
	r := sallyport(t, "", "import", "istio", "-n", "default", "istio/entry.yaml", "istio", "istio/sub/../entry.yaml", "link.yaml", filepath.Join(here, "istio"))
	require.Equal(t, exitOK, r.code, r)
	require.Equal(t, 1, strings.Count(r.stderr, "converted"), r.stderr)
}
