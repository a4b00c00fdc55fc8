package gitdir_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/gitdir"
)

// repository makes one, with a commit of the files given by name and content,
// and goes there. A content that starts with "-> " is a symbolic link.
func repository(t *testing.T, files map[string]string) {
	t.Helper()
	for k, v := range map[string]string{
		"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_SYSTEM": os.DevNull,
	} {
		t.Setenv(k, v)
	}
	t.Chdir(t.TempDir())
	git(t, "init", "-q", "-b", "main")
	commit(t, files)
}

func commit(t *testing.T, files map[string]string) {
	t.Helper()
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		_ = os.Remove(name)
		if target, ok := cutLink(content); ok {
			require.NoError(t, os.Symlink(target, name))
		} else {
			require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		}
	}
	git(t, "add", "-A", ".")
	git(t, "commit", "-q", "-m", "x")
}

func cutLink(content string) (string, bool) {
	if len(content) > 3 && content[:3] == "-> " {
		return content[3:], true
	}
	return "", false
}

func git(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("git", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// export is what Export writes, links as "-> TARGET".
func export(t *testing.T, revision, dir string) (map[string]string, error) {
	t.Helper()
	into := t.TempDir()
	err := gitdir.Export(t.Context(), revision, dir, into, ".yaml")
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(into, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(into, path)
		if d.Type() == fs.ModeSymlink {
			target, _ := os.Readlink(path)
			out[name] = "-> " + target
			return nil
		}
		data, err := os.ReadFile(path)
		out[name] = string(data)
		return err
	}))
	return out, err
}

func TestExport(t *testing.T) {
	repository(t, map[string]string{
		"policies/a.yaml": "a\n", "policies/sub/ü b.yaml": "", "policies/c.YAML": "no newline", "policies/README.md": "r",
		"policies/.hidden.yaml": "h", "policies/.h/x.yaml": "h", "other/x.yaml": "x",
	})
	commit(t, map[string]string{"policies/a.yaml": "second"})
	require.NoError(t, os.WriteFile("policies/a.yaml", []byte("not committed"), 0o600))

	want := map[string]string{"a.yaml": "a\n", "sub/ü b.yaml": "", "c.YAML": "no newline"}
	got, err := export(t, "HEAD~1", "policies")
	require.NoError(t, err)
	require.Equal(t, want, got)

	want["a.yaml"] = "second"
	for _, revision := range []string{"HEAD", "main", "refs/heads/main"} {
		got, err = export(t, revision, "policies/")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	got, err = export(t, "HEAD", "")
	require.NoError(t, err)
	require.Contains(t, got, "policies/a.yaml")
	require.Contains(t, got, "other/x.yaml")

	t.Chdir("other") // as git does: from the root, unless it starts with a dot
	got, err = export(t, "HEAD", "../policies")
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = export(t, "HEAD", "policies")
	require.NoError(t, err)
	require.Equal(t, want, got)

	data, err := os.ReadFile("../policies/a.yaml")
	require.NoError(t, err)
	require.Equal(t, "not committed", string(data), "the work tree is nobody's business")
}

// What would change the text on the way into a work tree does not change it
// here.
func TestExportIsAsCommitted(t *testing.T) {
	repository(t, map[string]string{".gitattributes": "*.yaml export-subst export-ignore eol=crlf text filter=never\n", "a.yaml": "$Format:%H$\n"})
	git(t, "config", "filter.never.smudge", "false")
	git(t, "config", "filter.never.required", "true")
	got, err := export(t, "HEAD", "")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a.yaml": "$Format:%H$\n"}, got)
}

func TestExportLinks(t *testing.T) {
	repository(t, map[string]string{"in/a.yaml": "-> sub/target.txt", "in/sub/target.txt": "t", "in/d": "-> sub", "in/sub/up.yaml": "-> ../a.yaml"})
	got, err := export(t, "HEAD", "in")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a.yaml": "-> sub/target.txt", "sub/target.txt": "t", "d": "-> sub", "sub/up.yaml": "-> ../a.yaml"}, got)

	for _, target := range []string{"../out.yaml", "/etc/passwd", "sub/../../out.yaml", ".."} {
		commit(t, map[string]string{"in/a.yaml": "-> " + target})
		_, err = export(t, "HEAD", "in")
		require.ErrorContains(t, err, "a.yaml is a symbolic link to \""+target+"\", outside of the directory")
	}
}

func TestExportRefusesSubmodules(t *testing.T) {
	repository(t, map[string]string{"in/a.yaml": "a"})
	git(t, "update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,in/sub")
	git(t, "commit", "-q", "-m", "x")
	_, err := export(t, "HEAD", "in")
	require.ErrorContains(t, err, "sub is a submodule")
}

func TestExportErrors(t *testing.T) {
	repository(t, map[string]string{"in/a.yaml": "a"})
	for _, tc := range []struct{ revision, dir, message string }{
		{"nope", "in", `git knows no revision "nope" here`},
		{"--all", "in", `git knows no revision "--all" here`},
		{"HEAD", "out", `the revision HEAD has no directory "out"`},
		{"HEAD", "in/a.yaml", "HEAD:in/a.yaml is not a directory"},
	} {
		_, err := export(t, tc.revision, tc.dir)
		require.ErrorContains(t, err, tc.message)
	}

	t.Chdir(t.TempDir())
	_, err := export(t, "HEAD", "in")
	require.ErrorContains(t, err, "the current directory is in none")

	t.Setenv("PATH", t.TempDir())
	_, err = export(t, "HEAD", "in")
	require.ErrorContains(t, err, "install git, or name a directory")
}

func TestSplit(t *testing.T) {
	for arg, want := range map[string][3]string{
		"HEAD~1:policies": {"HEAD~1", "policies", "ok"}, "origin/main:": {"origin/main", "", "ok"}, "a:b:c": {"a", "b:c", "ok"},
		":a": {"", "a", ""}, "policies": {"policies", "", ""},
	} {
		revision, dir, ok := gitdir.Split(arg)
		require.Equal(t, want[:2], []string{revision, dir}, arg)
		require.Equal(t, want[2] == "ok", ok, arg)
	}
}
