package syntax

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy/source"
)

// fileLimit is the size that package source lets through by default.
const fileLimit = 4 << 20

// TestHostileFiles decodes files made to keep a parser busy: each ends, and
// takes memory in proportion to its size.
func TestHostileFiles(t *testing.T) {
	for _, most := range []int{fileLimit, maxElements - 1} {
		t.Run(fmt.Sprint(most, " pieces"), func(t *testing.T) { hostileFiles(t, most) })
	}
}

// hostileFiles repeats a piece until the file is full, or at most so often: as
// often as the count of elements lets through.
func hostileFiles(t *testing.T, most int) {
	fill := func(piece string) string {
		return strings.Repeat(piece, min(most/elementsIn(piece), fileLimit/len(piece)))
	}
	var keys strings.Builder
	for i := 0; keys.Len() < fileLimit && i < most; i++ {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 50; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	for name, content := range map[string]string{
		"lists in lists":           fill("["),
		"lists in lists, closed":   strings.Repeat("[", min(most, fileLimit/2)) + strings.Repeat("]", min(most, fileLimit/2)),
		"mappings in mappings":     fill("{a: "),
		"mappings on one line":     fill("a: "),
		"block lists on one line":  fill("- "),
		"complex keys":             fill("? "),
		"keys":                     keys.String(),
		"empty keys":               fill(":\n"),
		"elements in flow":         "[" + fill("a,"),
		"pairs in flow":            "{" + fill("a,"),
		"pairs in a list":          "[" + fill("a: b,"),
		"empty elements":           fill("-\n"),
		"documents":                fill("---\n"),
		"document ends":            fill("...\n"),
		"words over lines":         fill("aaa\n"),
		"literal":                  "a: |\n" + fill("  a\n"),
		"literal of empty lines":   "a: |\n" + fill("\n"),
		"tabs in quotes":           "a: \"" + fill("\t") + "\"",
		"quotes":                   fill("''"),
		"anchors":                  fill("- &a x\n"),
		"tags":                     fill("- !a x\n"),
		"merges":                   fill("<<: {}\n"),
		"comments":                 fill("#\n\n"),
		"comments after elements":  fill("- a # b\n# c\n"),
		"one word":                 fill("a"),
		"one number":               fill("1"),
		"escapes":                  "\"" + fill("\\x41") + "\"",
		"carriage returns":         fill("- a\r"),
		"an unknown field's value": "apiVersion: sallyport.dev/v1\nkind: Destination\nspec: {" + fill("x"),
		"hosts that are wrong":     "apiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: a}\nspec:\n  hosts:\n" + fill("  - 1.2.3.4\n"),
		"aliases of aliases":       bomb.String(),
	} {
		t.Run(name, func(t *testing.T) { hostile(t, "a.yaml", content) })
	}
	for name, content := range map[string]string{
		"arrays in arrays":   fill("["),
		"objects in objects": fill(`{"a":`),
		"elements":           "[" + fill("1,"),
		"values":             fill("1 "),
		"keys":               "{" + fill(`"a":1,`),
		"one string":         `"` + fill("a") + `"`,
		"escapes":            `"` + fill(`\u0041`) + `"`,
	} {
		t.Run("JSON, "+name, func(t *testing.T) { hostile(t, "a.json", content) })
	}
}

// elementsIn is how often checkText counts a piece, or 1.
func elementsIn(piece string) int {
	return max(1, strings.Count(piece, ",")+strings.Count(piece, "[")+strings.Count(piece, "{")+strings.Count(piece, ":")+
		strings.Count(piece, "- ")+strings.Count(piece, "-\n")+strings.Count(piece, "? "))
}

func hostile(t *testing.T, path, content string) {
	f := []source.File{file(path, content)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var d Decoder
		_, diags := d.Decode(f)
		if size := len(text(diags)); size > (maxErrors+1)*(maxMessage+100) {
			t.Errorf("%d bytes of diagnostics", size)
		}
		if len(diags) > maxErrors+1 {
			t.Errorf("%d diagnostics", len(diags))
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		require.FailNow(t, "it does not end")
	}
	runtime.ReadMemStats(&after)
	t.Logf("%d MB allocated in all", (after.TotalAlloc-before.TotalAlloc)>>20)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30))
}
