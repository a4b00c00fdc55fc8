package source

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// isHidden reports whether a name is none of a person's business: hidden files
// and directories, the inside of a ConfigMap, locks.
func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

// isPolicy reports whether a file of this name holds policy.
func isPolicy(name string) bool {
	return !isHidden(name) && !isTemporary(name) &&
		slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name))
}

// isMisnamed reports whether a person surely thinks that a file of this name
// holds policy, while it does not.
func isMisnamed(name string) bool {
	return !isPolicy(name) && isPolicy(strings.ToLower(name))
}

// isTemporary reports whether an editor makes files of this name while it
// saves: backups, swap files, vim's probe 4913, Emacs's auto-saves.
func isTemporary(name string) bool {
	return name == "4913" ||
		strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") ||
		slices.ContainsFunc([]string{"~", ".swp", ".swx", ".tmp"}, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// isPrintable reports whether a name can be shown to a person as it is.
func isPrintable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}
