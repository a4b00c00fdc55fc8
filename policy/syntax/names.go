package syntax

import "strings"

// IsNamespace reports whether the language takes the name of a namespace.
func IsNamespace(s string) bool { return isName(s, 63, "-") }

// IsServiceAccount reports whether the language takes the name of a service account,
// or of a document.
func IsServiceAccount(s string) bool { return isName(s, 253, "-.") }

// CheckIdentity says what keeps a string from being the SPIFFE ID of one workload, as
// `principal` takes it.
func CheckIdentity(id string) error { return checkSPIFFE(id, id) }

// isName reports whether a name has small letters and digits, and within it some
// others.
func isName(s string, most int, others string) bool {
	outside := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(others, c)
	}
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, outside) && strings.Trim(s, others) == s
}
