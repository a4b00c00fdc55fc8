package syntax

import (
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

var update = flag.Bool("update", false, "rewrite what the testdata expects")

// file is a policy file as package source reads it.
func file(path, content string) source.File {
	return source.File{Path: path, Data: []byte(content), Digest: sha256.Sum256([]byte(content))}
}

// corpus are the files below testdata: valid ones, and invalid ones that have
// next to them, in a file .want, what is said about them.
func corpus(t testing.TB, dir string) []source.File {
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	require.NoError(t, err)
	var files []source.File
	for _, path := range paths {
		if filepath.Ext(path) == ".want" {
			continue
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		files = append(files, file(filepath.Base(path), string(data)))
	}
	require.NotEmpty(t, files)
	return files
}

// text is what a person sees.
func text(diags diag.List) string {
	var b strings.Builder
	for _, d := range diags {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if got == "" {
			if err := os.Remove(path); !os.IsNotExist(err) {
				require.NoError(t, err)
			}
			return
		}
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	require.Equal(t, string(want), got, "go test ./policy/syntax -update rewrites %s", path)
}

func TestInvalidCorpus(t *testing.T) {
	for _, f := range corpus(t, "invalid") {
		t.Run(f.Path, func(t *testing.T) {
			var d Decoder
			_, diags := d.Decode([]source.File{f})
			require.True(t, diags.HasErrors(), "a file in testdata/invalid is valid")
			golden(t, filepath.Join("testdata/invalid", f.Path+".want"), text(diags))
		})
	}
}

func TestValidCorpus(t *testing.T) {
	for _, f := range corpus(t, "valid") {
		t.Run(f.Path, func(t *testing.T) {
			var d Decoder
			_, diags := d.Decode([]source.File{f})
			require.False(t, diags.HasErrors(), "%s", text(diags))
			golden(t, filepath.Join("testdata/valid", f.Path+".want"), text(diags))
		})
	}
}

// TestNoStaleExpectations finds expectations whose input is gone.
func TestNoStaleExpectations(t *testing.T) {
	wants, err := filepath.Glob("testdata/*/*.want")
	require.NoError(t, err)
	for _, want := range wants {
		_, err := os.Stat(strings.TrimSuffix(want, ".want"))
		if *update && os.IsNotExist(err) {
			err = os.Remove(want)
		}
		require.NoError(t, err)
	}
}

// TestErrorsOfOneFileDoNotHideOthers decodes the whole corpus at once: every
// file says what it says alone, and the valid documents are all there.
func TestErrorsOfOneFileDoNotHideOthers(t *testing.T) {
	var alone diag.List
	files := corpus(t, "valid")
	for i := range files {
		files[i].Path = "a-valid/" + files[i].Path // first, so that the names are theirs
	}
	var d Decoder
	want, warnings := d.Decode(files)
	require.False(t, warnings.HasErrors())
	for _, f := range corpus(t, "invalid") {
		f.Path = "invalid/" + f.Path
		_, diags := d.Decode([]source.File{f})
		alone = append(alone, diags...)
		files = append(files, f)
	}
	alone = append(alone, warnings...)
	alone.Sort()
	got, diags := d.Decode(files)
	// Names are the one thing that files have to do with each other.
	others := func(d diag.Diagnostic) bool { return d.Code != "duplicate-name" }
	require.Equal(t, text(keep(alone, others)), text(keep(diags, others)))
	isValid := func(m Meta) bool { return strings.HasPrefix(m.Pos.File, "a-valid/") }
	count := 0
	for _, p := range got.Policies {
		if isValid(p.Meta) {
			count++
		}
	}
	require.Equal(t, len(want.Policies), count)
}

func keep(diags diag.List, which func(diag.Diagnostic) bool) (out diag.List) {
	for _, d := range diags {
		if which(d) {
			out = append(out, d)
		}
	}
	return out
}
