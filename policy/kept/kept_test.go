//go:build unix

package kept

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sallyport/policy/source"
)

func somePolicy(t testing.TB, files map[string]string) Policy {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	tree, diags := source.Read(dir, source.Limits{})
	require.Empty(t, diags)
	return Policy{Directory: "/policies", At: time.Date(2026, 11, 28, 9, 0, 0, 123456789, time.UTC), Tree: tree}
}

func someFiles() map[string]string {
	return map[string]string{
		"gateway.yaml":                         "kind: EgressGateway\n",
		"team/a.yaml":                          "",
		"team/é ü.yaml":                        strings.Repeat("x", 5000),
		strings.Repeat("deep/", 40) + "b.json": "{}",
		"manifest.json":                        "{}",
	}
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "state", "of", "sallyport"))
	_, err := s.Load()
	require.ErrorIs(t, err, ErrNone)

	for _, p := range []Policy{somePolicy(t, someFiles()), somePolicy(t, nil), somePolicy(t, map[string]string{"one.yaml": "a"})} {
		require.NoError(t, s.Save(p))
		got, err := s.Load()
		require.NoError(t, err)
		require.Equal(t, p.Directory, got.Directory)
		require.True(t, p.At.Equal(got.At), got.At)
		require.Equal(t, p.Tree.Digest, got.Tree.Digest)
		require.Len(t, got.Tree.Files, len(p.Tree.Files))
		for i, f := range p.Tree.Files {
			require.Equal(t, f.Path, got.Tree.Files[i].Path)
			require.Equal(t, f.Digest, got.Tree.Files[i].Digest)
			require.True(t, bytes.Equal(f.Data, got.Tree.Files[i].Data))
		}
		info, err := os.Stat(s.Path())
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "whatever the umask is, it is nobody else's")
	}
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "the file and the lock")
}

// A person gets the files back with tar.
func TestTarReadsIt(t *testing.T) {
	t.Parallel()
	tar, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("no tar here")
	}
	s := open(t, t.TempDir())
	p := somePolicy(t, someFiles())
	require.NoError(t, s.Save(p))
	to := t.TempDir()
	out, err := exec.Command(tar, "-xf", s.Path(), "-C", to).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
	tree, diags := source.Read(filepath.Join(to, "policies"), source.Limits{})
	require.Empty(t, diags)
	require.Equal(t, p.Tree.Digest, tree.Digest)
}

// Every byte counts: cut short anywhere, or with any byte changed, it is refused
// as a whole.
func TestDamaged(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.Save(somePolicy(t, map[string]string{"a.yaml": "kind: A\n", "b.yaml": "kind: B\n"})))
	good, err := os.ReadFile(s.Path())
	require.NoError(t, err)
	refused := func(data []byte, what string) {
		t.Helper()
		require.NoError(t, os.WriteFile(s.Path(), data, 0o600))
		got, err := s.Load()
		require.Error(t, err, what)
		require.Contains(t, err.Error(), s.Path())
		require.Empty(t, got)
	}
	for n := range len(good) {
		if n%61 == 0 || n == len(good)-1 {
			refused(good[:n], fmt.Sprintf("cut to %d bytes", n))
		}
		changed := bytes.Clone(good)
		changed[n] ^= 1
		_, err := unpack(changed)
		require.Error(t, err, "byte %d", n)
	}
	refused(append(bytes.Clone(good), 0), "a byte more")
	refused(append(bytes.Clone(good), good...), "twice")
	refused(nil, "empty")
	_, err = s.Load()
	require.ErrorContains(t, err, "is damaged: it was cut short or changed")

	// What replaces it is right again.
	require.NoError(t, s.Save(somePolicy(t, someFiles())))
	_, err = s.Load()
	require.NoError(t, err)
}

func TestOtherFormat(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.Save(somePolicy(t, someFiles())))
	data, err := os.ReadFile(s.Path())
	require.NoError(t, err)
	data = bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 3`), 1)
	require.NoError(t, os.WriteFile(s.Path(), data, 0o600))
	_, err = s.Load()
	require.ErrorContains(t, err, "has format 3, and this version of sallyport reads 1 and 2")
}

// The checksum is right, and what it is of is not: nothing that Save writes.
func TestForged(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"../outside.yaml": "a", "/etc/x.yaml": "a", "binary.yaml": "\xff"} {
		s := open(t, t.TempDir())
		p := Policy{Tree: source.NewTree([]source.File{{Path: name, Data: []byte(content)}})}
		require.NoError(t, s.Save(p))
		_, err := s.Load()
		require.ErrorContains(t, err, "cannot be used, although its checksum is right", name)
	}
	s := open(t, t.TempDir())
	p := somePolicy(t, someFiles())
	p.Tree.Digest[0] ^= 1
	require.NoError(t, s.Save(p))
	_, err := s.Load()
	require.ErrorContains(t, err, "not those of its manifest")
}

func TestStrangeFiles(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	p := somePolicy(t, someFiles())
	require.NoError(t, s.Save(p))
	elsewhere := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.Rename(s.Path(), elsewhere))
	for what, put := range map[string]func() error{
		"too many levels of symbolic links": func() error { return os.Symlink(elsewhere, s.Path()) },
		"is not a file":                     func() error { return unix.Mkfifo(s.Path(), 0o600) },
		"by everybody":                      func() error { return errors.Join(os.WriteFile(s.Path(), nil, 0o600), os.Chmod(s.Path(), 0o666)) },
	} {
		require.NoError(t, os.RemoveAll(s.Path()))
		require.NoError(t, put())
		_, err := s.Load()
		require.ErrorContains(t, err, what)
		require.NoError(t, s.Save(p), "it is replaced, not written to")
		_, err = s.Load()
		require.NoError(t, err)
	}
}

// A crash in the middle of a Save leaves the old file, and a temporary one that
// the next Save takes the place of.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, s.Save(somePolicy(t, someFiles())))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, temporaryName), []byte("half"), 0o666))
	_, err := s.Load()
	require.NoError(t, err)
	require.NoError(t, s.Save(somePolicy(t, nil)))
	require.NoFileExists(t, filepath.Join(s.dir, temporaryName))
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	small := somePolicy(t, map[string]string{"a.yaml": "a"})
	require.NoError(t, s.Save(small))
	s.limit = 10_000
	require.ErrorContains(t, s.Save(somePolicy(t, map[string]string{"a.yaml": strings.Repeat("a", 10_000)})), "too large to be kept")
	require.NoFileExists(t, filepath.Join(s.dir, temporaryName))
	got, err := s.Load()
	require.NoError(t, err, "the one before is still there")
	require.Equal(t, small.Tree.Digest, got.Tree.Digest)
	require.NoError(t, os.Truncate(s.Path(), 10_001))
	_, err = s.Load()
	require.ErrorContains(t, err, "has 10001 bytes")
}

func TestOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := Open(dir)
	require.NoError(t, err)
	_, err = Open(dir)
	require.ErrorContains(t, err, fmt.Sprintf(`%s is in use by another sallyport ("process %d on `, dir, os.Getpid()))
	require.ErrorContains(t, err, "each control plane needs a directory of its own")
	require.NoError(t, first.Close())
	require.NoError(t, open(t, dir).Save(somePolicy(t, nil)))
}

func TestNotADirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file)
	require.ErrorContains(t, err, "not a directory")
	_, err = Open(filepath.Join(file, "below"))
	require.ErrorContains(t, err, "not a directory")
}

// Where nothing can be written the kept policy can still be read, and Save says
// what is wrong until it is right.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := somePolicy(t, someFiles())
	first, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, first.Save(p))
	require.NoError(t, first.Close())
	// Root may write everywhere but through a lock that is no file.
	lock := filepath.Join(dir, lockName)
	require.NoError(t, os.Remove(lock))
	require.NoError(t, os.Mkdir(lock, 0o700))
	s := open(t, dir)
	_, err = s.Load()
	require.NoError(t, err)
	require.ErrorContains(t, s.Save(p), lock+" cannot be opened")
	require.NoError(t, os.Remove(lock))
	require.NoError(t, s.Save(p))
}

func TestInside(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	policies := filepath.Join(root, "policies")
	require.NoError(t, os.MkdirAll(filepath.Join(policies, "team"), 0o755))
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(policies, link))
	for dir, want := range map[string]bool{
		policies:                               true,
		filepath.Join(policies, "state"):       true,
		filepath.Join(link, "team", "a", "b"):  true,
		filepath.Join(root, "state"):           false,
		root:                                   false,
		policies + "-state":                    false,
		filepath.Join(policies, "..", "state"): false,
	} {
		require.Equal(t, want, Inside(dir, policies), dir)
		require.Equal(t, want, Inside(dir, link), dir)
	}
	missing := filepath.Join(root, "missing", "policies")
	require.True(t, Inside(filepath.Join(missing, "state"), missing))
	require.False(t, Inside(filepath.Join(root, "missing", "state"), missing))
}

// Whatever is under a right checksum, what comes out is a policy or an error.
func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, pack(&b, somePolicy(f, someFiles())))
	end := len(trailer(make([]byte, sha256.Size)))
	f.Add(b.Bytes()[:b.Len()-end])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		p, err := unpack(append(bytes.Clone(body), trailer(sum[:])...))
		if err != nil {
			require.Empty(t, p)
			return
		}
		for _, file := range p.Tree.Files {
			require.True(t, fs.ValidPath(file.Path), file.Path)
			require.True(t, utf8.Valid(file.Data))
		}
	})
}

func BenchmarkSave(b *testing.B) {
	files := make(map[string]string)
	for i := range 2000 {
		files[fmt.Sprintf("team-%d/policy.yaml", i)] = strings.Repeat("- host.example.com\n", 50)
	}
	p := somePolicy(b, files)
	s := open(b, b.TempDir())
	for b.Loop() {
		require.NoError(b, s.Save(p))
	}
}
