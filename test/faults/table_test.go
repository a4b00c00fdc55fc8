package faults

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows is how many there are.
const rows = 29

// TestTableOfFaults: every row of docs/faults.md names tests, and each test that any of
// the documents names exists.
func TestTableOfFaults(t *testing.T) {
	t.Parallel()
	const root = "../.."
	tests := make(map[string]bool)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
		return nil
	}))
	text, err := os.ReadFile(root + "/docs/faults.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`^\| (\d+) \|(?:[^|]*\|){2}([^|]*)\|$`)
	test := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	next := 1
	for line := range strings.Lines(string(text)) {
		m := row.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		require.Equal(t, next, number, "a row is missing, or out of order")
		next++
		named := test.FindAllStringSubmatch(m[2], -1)
		require.NotEmpty(t, named, "row %d names no test", number)
		for _, name := range named {
			require.True(t, tests[name[1]], "row %d names %s, which does not exist", number, name[1])
		}
	}
	require.Equal(t, rows+1, next, "not every row is there")
	// All other documents that say what shows something.
	documents, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, documents)
	for _, document := range documents {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, name := range test.FindAllStringSubmatch(string(text), -1) {
			require.True(t, tests[name[1]], "%s names %s, which does not exist", document, name[1])
		}
	}
}
