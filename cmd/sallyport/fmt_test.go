package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const untidy = `kind: Destination # a comment
apiVersion: sallyport.dev/v1
metadata:
    name: a
spec:
    hosts: ['*.a.org']
`

const tidied = `apiVersion: sallyport.dev/v1
kind: Destination  # a comment
metadata:
  name: a
spec:
  hosts: ["*.a.org"]
`

func TestFmtWrites(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "link.yaml")
	other := filepath.Join(dir, "b.json")
	require.NoError(t, os.WriteFile(path, []byte(untidy), 0o640))
	require.NoError(t, os.WriteFile(other, []byte("{ }"), 0o600))

	r := sallyport(t, "", "fmt", "--check", dir)
	require.Equal(t, result{exitRefused, path + "\n", "sallyport: " + other + " is left as it is: it is JSON\n"}, r)
	require.Equal(t, result{exitOK, tidied, ""}, sallyport(t, "", "fmt", path))
	require.Equal(t, result{exitOK, tidied, ""}, sallyport(t, untidy, "fmt", "-"))

	require.NoError(t, os.Symlink("a.yaml", link))
	require.Equal(t, result{exitOK, link + "\n", ""}, sallyport(t, "", "fmt", "-w", link))
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, tidied, string(written))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "nothing is left over")

	require.Equal(t, result{exitOK, "", ""}, sallyport(t, "", "fmt", "--check", path))
	require.Equal(t, result{exitOK, "", ""}, sallyport(t, "", "fmt", "-w", path))
}

// A file with errors is not touched, and the others are laid out nevertheless.
func TestFmtRefuses(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(good, []byte(untidy), 0o600))
	require.NoError(t, os.WriteFile(bad, []byte("kind:   Nonsense\n"), 0o600))
	r := sallyport(t, "", "fmt", "-w", dir)
	require.Equal(t, exitInvalid, r.code)
	require.Equal(t, good+"\n", r.stdout)
	require.Contains(t, r.stderr, bad+":1:9: error: the kind Nonsense is not known")
	content, err := os.ReadFile(bad)
	require.NoError(t, err)
	require.Equal(t, "kind:   Nonsense\n", string(content))

	require.Equal(t, exitUsage, sallyport(t, "", "fmt", "-w", "-").code)
	require.Equal(t, exitUsage, sallyport(t, "", "fmt").code)
	require.Equal(t, exitUsage, sallyport(t, "", "fmt", "-w", "-d", good).code)
	require.Equal(t, exitUsage, sallyport(t, "", "fmt", "../../README.md").code)
	require.Equal(t, exitInvalid, sallyport(t, "", "fmt", filepath.Join(dir, "none.yaml")).code)
}

// What cannot be read is said, with the way to it, and does not keep the others
// from being laid out.
func TestFmtSaysWhatIsNotRead(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("z", 0o700))
	require.NoError(t, os.WriteFile("z/good.yaml", []byte(untidy), 0o600))
	require.NoError(t, os.WriteFile("z/deny.YAML", []byte(untidy), 0o600))
	r := sallyport(t, "", "fmt", "--check", "z")
	require.Equal(t, result{exitRefused, "z/good.yaml\n", "z/deny.YAML: warning: is not read: policy files end in .yaml, .yml or .json, in lower case [unusual-extension]\n"}, r)

	require.NoError(t, os.Symlink("nowhere.yaml", "z/dang.yaml"))
	r = sallyport(t, "", "fmt", "-w", "none.yaml", "z")
	require.Equal(t, exitInvalid, r.code)
	require.Equal(t, "z/good.yaml\n", r.stdout)
	require.Contains(t, r.stderr, "none.yaml: error: cannot be read: no such file or directory [unreadable-file]\n")
	require.Contains(t, r.stderr, "z/dang.yaml: error: ")
}

// What is printed of several files can be read as one.
func TestFmtPrintsSeveralFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("a.yaml", []byte(untidy), 0o600))
	require.NoError(t, os.WriteFile("b.yaml", []byte(strings.Replace(untidy, "name: a", "name: b", 1)), 0o600))
	require.NoError(t, os.WriteFile("c.yaml", []byte("---\n"+strings.Replace(untidy, "name: a", "name: c", 1)), 0o600))
	require.NoError(t, os.WriteFile("empty.yaml", nil, 0o600))
	r := sallyport(t, "", "fmt", "empty.yaml", "a.yaml", "b.yaml", "c.yaml")
	b, c := strings.Replace(tidied, "name: a", "name: b", 1), strings.Replace(tidied, "name: a", "name: c", 1)
	require.Equal(t, result{exitOK, tidied + "---\n" + b + "---\n" + c, ""}, r)
	require.Equal(t, r, sallyport(t, r.stdout, "fmt", "-"))
}

// The examples are laid out as `sallyport fmt` does it.
func TestExamplesAreLaidOut(t *testing.T) {
	entries, err := os.ReadDir("../../examples")
	require.NoError(t, err)
	args := []string{"fmt", "-d", "../../examples/kubernetes/base/policies"}
	for _, e := range entries {
		// What is there but for policies is Kubernetes' and Prometheus' own.
		if e.IsDir() && e.Name() != "kubernetes" && e.Name() != "monitoring" {
			args = append(args, filepath.Join("../../examples", e.Name()))
		}
	}
	require.Greater(t, len(args), 7)
	require.Equal(t, result{}, sallyport(t, "", args...))
}

// patch(1) makes the new text of the old one.
func TestUnifiedDiff(t *testing.T) {
	patch, err := exec.LookPath("patch")
	require.NoError(t, err, "patch is missing: apt-get install patch")
	dir := t.TempDir()
	genText := rapid.Custom(func(t *rapid.T) string {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "- x", "+y"}), 0, 30).Draw(t, "lines"), "\n")
		return text + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
	})
	rapid.Check(t, func(t *rapid.T) {
		before, after := genText.Draw(t, "before"), genText.Draw(t, "after")
		if before == after {
			return
		}
		path := filepath.Join(dir, "file")
		require.NoError(t, os.WriteFile(path, []byte(before), 0o600))
		cmd := exec.Command(patch, "--quiet", "--posix", path)
		cmd.Stdin = strings.NewReader(unifiedDiff("file", before, after))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		got, err := os.ReadFile(path)
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		require.Equal(t, after, string(got))
	})
}
