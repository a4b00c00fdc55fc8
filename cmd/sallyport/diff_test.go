package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDiffOfRevisions compares revisions with each other and with the work tree,
// which stays as it is.
func TestDiffOfRevisions(t *testing.T) {
	old, err := filepath.Abs("testdata/diff/old")
	require.NoError(t, err)
	edited, err := os.ReadFile("testdata/diff/new/policy.yaml")
	require.NoError(t, err)
	t.Setenv("TMPDIR", t.TempDir())
	t.Chdir(t.TempDir())
	run := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	run("init", "-q", "-b", "main")
	require.NoError(t, os.CopyFS("policies", os.DirFS(old)))
	run("add", ".")
	run("commit", "-q", "-m", "old")
	require.NoError(t, os.WriteFile("policies/policy.yaml", edited, 0o600))

	r := sallyport(t, "", "diff", "HEAD:policies", "policies")
	require.Equal(t, exitWidened, r.code, r)
	require.Contains(t, r.stdout, "may now reach fr.wikipedia.org   allow by ns[default]-policy[wikipedia]-rule[0] policies/policy.yaml:6:5 (")
	require.Contains(t, r.stdout, "may no longer reach en.wikipedia.org   refused: host-not-registered (was allow by ns[default]-policy[wikipedia]-rule[0] HEAD:policies/policy.yaml:6:5)")
	require.Equal(t, " M policies/policy.yaml\n", run("status", "--porcelain"))

	run("commit", "-q", "-a", "-m", "new")
	require.Equal(t, "nothing changes\n", sallyport(t, "", "diff", "HEAD:./policies", "policies").stdout)
	require.Equal(t, exitWidened, sallyport(t, "", "diff", "HEAD~1:policies", "HEAD:policies").code)

	require.NoError(t, os.WriteFile("policies/policy.yaml", []byte("kind: ["), 0o600))
	run("commit", "-q", "-a", "-m", "broken")
	r = sallyport(t, "", "diff", "HEAD~1:policies", "HEAD:policies")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "HEAD:policies/policy.yaml:1:")
	require.NoError(t, os.WriteFile("policies/policy.yaml", []byte("kind: {"), 0o600))
	r = sallyport(t, "", "diff", "HEAD:policies", "policies")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "HEAD:policies/policy.yaml:1:")
	require.Contains(t, r.stderr, "\npolicies/policy.yaml:1:")

	for arg, hint := range map[string]string{
		"HEAD":      "there is no directory HEAD; one of a git revision is written REVISION:DIRECTORY, for example HEAD:policies",
		":policies": "there is no directory :policies; one of a git revision is written REVISION:DIRECTORY",
		"HEAD~1:.":  "HEAD~1:. may be two directories: write HEAD~1:./ for the current one, or HEAD~1: for the top of the repository",
	} {
		r = sallyport(t, "", "diff", arg, "policies")
		require.Equal(t, exitInvalid, r.code)
		require.Contains(t, r.stderr, hint)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "sallyport-diff-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
