package source

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sallyport/pkg/diag"
)

func TestReadTakesPolicyFilesOnly(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for _, name := range []string{"b.yaml", "a.yml", "c.json", "sub/d.yaml", "sub/deeper/e.yaml", "dir.yaml/f.yaml", "with space.yaml", "é.yaml"} {
		want[name] = "# " + name + "\n"
		write(t, filepath.Join(dir, name), want[name])
	}
	for _, name := range []string{
		"README.md", "notes.txt", "yaml", ".hidden.yaml", ".git/config.yaml", "sub/.secret/x.yaml",
		"b.yaml~", ".b.yaml.swp", "b.yaml.swp", "b.yaml.swx", ".#b.yaml", "#b.yaml#", "4913", "b.yaml.tmp", "b.yaml.bak",
	} {
		write(t, filepath.Join(dir, name), "not policy")
	}
	tree, diags := Read(dir, Limits{})
	require.Empty(t, diags)
	require.Equal(t, want, contents(tree))
	for i := 1; i < len(tree.Files); i++ {
		require.Less(t, tree.Files[i-1].Path, tree.Files[i].Path)
	}
}

func TestReadWarnsOfMisnamedFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Deny.YAML"), "a: b\n")
	tree, diags := Read(dir, Limits{})
	require.Empty(t, tree.Files)
	require.Len(t, diags, 1)
	require.Equal(t, diag.Warning, diags[0].Severity)
	require.Equal(t, "unusual-extension", diags[0].Code)
}

func TestReadOfAnEmptyDirectory(t *testing.T) {
	require.Empty(t, readAll(t, t.TempDir()))
}

func TestDigest(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	digest := func(dir string) [32]byte {
		tree, diags := Read(dir, Limits{})
		require.Empty(t, diags)
		return tree.Digest
	}
	seen := map[[32]byte]string{}
	differs := func(what string) {
		d := digest(dir)
		require.Equal(t, d, digest(dir), "reading again changes nothing")
		require.NotContains(t, seen, d, "%s does not show", what)
		seen[d] = what
	}
	differs("nothing")
	write(t, filepath.Join(dir, "a.yaml"), "")
	differs("an empty file")
	write(t, filepath.Join(dir, "a.yaml"), "x")
	differs("content")
	require.NoError(t, os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")))
	differs("a name")
	write(t, filepath.Join(dir, "a.yaml"), "x")
	differs("a copy")
	write(t, filepath.Join(other, "a.yaml"), "x")
	write(t, filepath.Join(other, "b.yaml"), "x")
	require.Equal(t, digest(dir), digest(other), "equal trees in two places")
}

func TestReadOfAConfigMap(t *testing.T) {
	dir := t.TempDir()
	c := &configMap{t: t, dir: dir}
	for range 3 {
		c.swap("a.yaml", "b.yaml", "sub/c.yaml")
		require.Equal(t, map[string]string{"a.yaml": c.content(), "b.yaml": c.content(), "sub/c.yaml": c.content()}, readAll(t, dir))
	}
}

func TestSymbolicLinks(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "shared.yaml"), "shared")
	write(t, filepath.Join(outside, "dir/in.yaml"), "in")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "real.yaml"), "real")
	write(t, filepath.Join(dir, "v2/x.yaml"), "x")
	for link, target := range map[string]string{
		"linked.yaml": filepath.Join(outside, "shared.yaml"), // read under this name
		"again.yaml":  "real.yaml",                           // the same file under two names is one
		"current":     "v2",                                  // so is a directory
		"more":        filepath.Join(outside, "dir"),
		"most":        filepath.Join(outside, "dir"),
		"notes":       filepath.Join(outside, "shared.yaml"), // its name is not a policy file's
		"v2/up.yaml":  "../real.yaml",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	require.Equal(t, map[string]string{"real.yaml": "real", "v2/x.yaml": "x", "linked.yaml": "shared", "more/in.yaml": "in"}, readAll(t, dir))

	root := filepath.Join(t.TempDir(), "policies")
	require.NoError(t, os.Symlink(dir, root))
	require.Equal(t, readAll(t, dir), readAll(t, root), "the directory itself may be a link")
}

func TestReadRefuses(t *testing.T) {
	link := func(name, target string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Symlink(target, filepath.Join(dir, name))) }
	}
	for _, c := range []struct {
		name   string
		make   func(t *testing.T, dir string)
		limits Limits
		pos    diag.Position
		code   string
	}{
		{name: "named pipe", code: "not-a-file", pos: at("pipe.yaml"), make: func(t *testing.T, dir string) {
			require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o644))
		}},
		{name: "link to a named pipe", code: "not-a-file", pos: at("a.yaml"), make: func(t *testing.T, dir string) {
			pipe := filepath.Join(t.TempDir(), "pipe")
			require.NoError(t, unix.Mkfifo(pipe, 0o644))
			link("a.yaml", pipe)(t, dir)
		}},
		{name: "socket", code: "not-a-file", pos: at("s.yaml"), make: func(t *testing.T, dir string) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			require.NoError(t, err)
			t.Cleanup(func() { closeFD(fd) })
			// A short name: addresses of sockets are short, temporary directories are not.
			require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: shortPath(t, dir) + "/s.yaml"}))
		}},
		{name: "endless device", code: "not-a-file", pos: at("zero.yaml"), make: link("zero.yaml", "/dev/zero")},
		{name: "link to itself", code: "link-loop", pos: at("self.yaml"), make: link("self.yaml", "self.yaml")},
		{name: "two links in a circle", code: "link-loop", pos: at("a"), make: func(t *testing.T, dir string) {
			link("a", "b")(t, dir)
			link("b", "a")(t, dir)
		}},
		{name: "link to the directory itself", code: "link-loop", pos: at("here"), make: link("here", ".")},
		{name: "link upwards", code: "link-loop", pos: at("sub/up"), make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "sub/x.yaml"), "")
			link("sub/up", "..")(t, dir)
		}},
		{name: "link above the directory", code: "link-loop", pos: at("root"), make: link("root", "/")},
		{name: "two directories that link to each other", code: "link-loop", pos: at("a/b/a"), make: func(t *testing.T, dir string) {
			other := t.TempDir()
			write(t, filepath.Join(other, "x.yaml"), "")
			require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
			link("a/b", other)(t, dir)
			require.NoError(t, os.Symlink(filepath.Join(dir, "a"), filepath.Join(other, "a")))
		}},
		{name: "dangling link", code: "dangling-link", pos: at("gone.yaml"), make: link("gone.yaml", "nowhere.yaml")},
		{name: "dangling link to a directory", code: "dangling-link", pos: at("gone"), make: link("gone", "nowhere")},
		{name: "link through a file", code: "dangling-link", pos: at("through.yaml"), make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "x.yaml"), "")
			link("through.yaml", "x.yaml/y.yaml")(t, dir)
		}},
		{name: "100 MB, sparse", code: "file-too-large", pos: at("big.yaml"), make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "big.yaml"), "")
			require.NoError(t, os.Truncate(filepath.Join(dir, "big.yaml"), 100<<20))
		}},
		{name: "a byte too many", code: "file-too-large", pos: at("a.yaml"), limits: Limits{FileBytes: 3}, make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a.yaml"), "four")
		}},
		{name: "too much together", code: "tree-too-large", pos: at("b.yaml"), limits: Limits{TotalBytes: 7}, make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a.yaml"), "four")
			write(t, filepath.Join(dir, "b.yaml"), "four")
		}},
		{name: "not UTF-8", code: "not-utf8", pos: diag.Position{File: "a.yaml", Line: 2, Column: 4}, make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a.yaml"), "é: x\nü: \xff\n")
		}},
		{name: "UTF-16", code: "not-utf8", pos: diag.Position{File: "a.yaml", Line: 1, Column: 1}, make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a.yaml"), "\xff\xfea\x00")
		}},
		{name: "name that is a line break", code: "bad-file-name", pos: at("."), make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "a\nb.yaml"), "")
		}},
		{name: "nested too deep", code: "too-deep", pos: at(strings.Repeat("d/", maxDepth-1) + "d"), make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, strings.Repeat("d/", maxDepth+5), "x.yaml"), "")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "good.yaml"), "ok")
			c.make(t, dir)
			diags := refusal(t, dir, c.limits)
			require.Equal(t, c.code, diags[0].Code, "%v", diags)
			require.Equal(t, c.pos, diags[0].Pos)
			require.NotEmpty(t, diags[0].Message)
		})
	}
}

// shortPath is another name of a directory that is short.
func shortPath(t *testing.T, dir string) string {
	short, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	require.NoError(t, os.Symlink(dir, filepath.Join(short, "d")))
	return filepath.Join(short, "d")
}

func TestReadRefusesTooManyFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "sub/b.yaml", "c.yaml"} {
		write(t, filepath.Join(dir, name), "")
	}
	diags := refusal(t, dir, Limits{Files: 2})
	require.Len(t, diags, 1)
	require.Equal(t, "too-many-files", diags[0].Code)
	require.Equal(t, at(dir), diags[0].Pos)
	tree, diags := Read(dir, Limits{Files: 3})
	require.Empty(t, diags)
	require.Len(t, tree.Files, 3)
}

func TestReadRefusesWhatIsNotADirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	for _, name := range []string{"missing", "file", "dangling", "file/below"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			diags := refusal(t, path, Limits{})
			require.Len(t, diags, 1)
			require.Equal(t, "unreadable-directory", diags[0].Code)
			require.Equal(t, at(path), diags[0].Pos)
		})
	}
}

func TestReadReportsEverything(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yaml"), "ok")
	write(t, filepath.Join(dir, "a.yaml"), "\xff")
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "b.yaml")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "c.yaml"), 0o644))
	tree, diags := Read(dir, Limits{})
	require.Len(t, diags, 3)
	require.Equal(t, map[string]string{"good.yaml": "ok"}, contents(tree), "what is good is there, so that its own errors are found in the same run")
}

// asNobody runs f without the rights of the superuser, whom no permission
// stops. On Linux these are rights of the thread.
func asNobody(t *testing.T, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock it: the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Errorf("cannot become nobody: %v", err)
			return
		}
		f()
	}()
	<-done
}

func TestReadRefusesWhatItMayNotRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // which is the test's own, too
	write(t, filepath.Join(dir, "secret.yaml"), "x")
	write(t, filepath.Join(dir, "sub/x.yaml"), "x")
	require.NoError(t, os.Chmod(filepath.Join(dir, "secret.yaml"), 0))
	require.NoError(t, os.Chmod(filepath.Join(dir, "sub"), 0))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "sub"), 0o755) })
	asNobody(t, func() {
		_, diags := Read(dir, Limits{})
		require.Len(t, diags, 2)
		require.Equal(t, "unreadable-file", diags[0].Code)
		require.Equal(t, at("secret.yaml"), diags[0].Pos)
		require.Contains(t, diags[0].Message, "permission denied")
		require.Equal(t, "unreadable-directory", diags[1].Code)
		require.Equal(t, at("sub"), diags[1].Pos)

		_, diags = Read(filepath.Join(dir, "sub"), Limits{})
		require.Len(t, diags, 1)
		require.Equal(t, "unreadable-directory", diags[0].Code)
	})
}

func TestReaderRemembers(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "a")
	write(t, filepath.Join(dir, "b.yaml"), "b")
	var r Reader
	read := func() (map[string]string, int) {
		before := r.loads
		tree, diags := r.Read(dir)
		require.Empty(t, diags)
		return contents(tree), r.loads - before
	}
	_, loads := read()
	require.Equal(t, 2, loads)
	_, loads = read()
	require.Equal(t, 2, loads, "what changed just now may change again without showing it")
	r.now = func() time.Time { return time.Now().Add(2 * settleTime) }
	_, loads = read()
	require.Equal(t, 2, loads)
	got, loads := read()
	require.Equal(t, 0, loads, "what has been quiet is not read again")
	require.Equal(t, map[string]string{"a.yaml": "a", "b.yaml": "b"}, got)
	write(t, filepath.Join(dir, "b.yaml"), "c")
	got, loads = read()
	require.Equal(t, 1, loads)
	require.Equal(t, map[string]string{"a.yaml": "a", "b.yaml": "c"}, got)
	require.NoError(t, os.Rename(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "c.yaml")))
	got, _ = read()
	require.Equal(t, map[string]string{"c.yaml": "a", "b.yaml": "c"}, got)
	require.Len(t, r.cache, 2, "what is gone is forgotten")
}

func TestReaderSeesChangesWithinOneTick(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.yaml")
	var r Reader
	for i := range 500 {
		want := string(rune('a' + i%26))
		write(t, path, want) // always one byte
		tree, diags := r.Read(filepath.Dir(path))
		require.Empty(t, diags)
		require.Equal(t, map[string]string{"a.yaml": want}, contents(tree))
	}
}
