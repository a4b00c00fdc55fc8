package layout

import (
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/syntax"
)

// Scalar writes a string, without quotes if it is the same to whoever reads YAML.
func Scalar(s string) string {
	const special = "y n yes no on off true false null"
	outside := func(c rune) bool { return !isSmall(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("._-/", c) }
	text := strings.TrimPrefix(s, "spiffe://")
	if text == "" || !isSmall(rune(text[0])) || text[0] <= '9' || strings.ContainsFunc(text, outside) ||
		slices.Contains(strings.Fields(special), strings.ToLower(s)) {
		return strconv.Quote(s)
	}
	return s
}

func isSmall(c rune) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// Remark writes a comment of one line: what it quotes may be any text.
func Remark(text string) string {
	return "# " + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text) + "\n"
}

// Header writes how a document of ours begins, up to its spec.
func Header(kind, namespace, name string) string {
	out := "apiVersion: " + syntax.APIVersion + "\nkind: " + kind + "\nmetadata:\n  name: " + Scalar(name) + "\n"
	if namespace != "" {
		out += "  namespace: " + Scalar(namespace) + "\n"
	}
	return out + "spec:\n"
}
