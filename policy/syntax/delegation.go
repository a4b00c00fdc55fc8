package syntax

import (
	"errors"
	"path"
	"strings"

	"sallyport/pkg/diag"
)

// Delegation hands a folder of the policy directory to a team: what its documents
// may be, and say. Package compile holds them to it.
type Delegation struct {
	Meta
	// Folder is its path in the policy directory, with slashes, clean, and neither
	// absolute nor the directory itself.
	Folder    string
	FolderPos diag.Position
	// Namespaces are those whose workloads its documents may speak for.
	Namespaces []string
	// Hosts are what its Allow rules may grant; empty is everything.
	Hosts []Host
}

// Has reports whether a file lies in the folder, or in one below it.
func (d *Delegation) Has(file string) bool {
	rest, ok := strings.CutPrefix(file, d.Folder)
	return ok && strings.HasPrefix(rest, "/")
}

// delegation is the table of Delegation.
func delegation() object[Delegation] {
	spec := object[Delegation]{
		what: "the spec of a Delegation",
		fields: []field[Delegation]{
			bind("folder", "The folder of the policy directory that the team may write to, with those below it, for example teams/atlas.", folderPath(),
				func(d *Delegation, s string, n *node) { d.Folder, d.FolderPos = s, n.pos }).must(),
			bind("namespaces", "The namespaces that its documents may belong to. Each must have one of them, so that it only speaks for their workloads.",
				listOf[string]{element: namespaceName(), least: 1, same: func(s string) string { return s }, twice: diag.Warning}.value(),
				func(d *Delegation, names []string, _ *node) { d.Namespaces = names }).must(),
			bind("hosts", "The hosts that its rules may allow: names, or patterns that cover them. Without it: any.", hosts(1),
				func(d *Delegation, h []Host, _ *node) { d.Hosts = h }),
		},
	}
	return documentOf("Delegation",
		"A Delegation hands a folder of the policy directory to a team: in it, only EgressPolicies and PolicyTests of the team's namespaces are taken.",
		false, func(d *Delegation) *Meta { return &d.Meta }, spec)
}

// folderPath is a folder below the policy directory.
func folderPath() value[string] {
	return word("a folder", jsonSchema{"pattern": `^[^/\\*?][^\\*?]*$`}, func(s string) (string, error) {
		clean := path.Clean(strings.TrimSuffix(s, "/"))
		if path.IsAbs(s) || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(s, "\\*?") {
			return "", errors.New("it must be a folder below the policy directory, written from there, as teams/atlas")
		}
		return clean, nil
	})
}
