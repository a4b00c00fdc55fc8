package syntax

import (
	"regexp"

	"sallyport/pkg/diag"
)

// node is what a document is made of, whether it was written as YAML or as
// JSON: nothing but mappings, lists and scalars.
type node struct {
	kind  kind
	pos   diag.Position
	value string // of a scalar
	// quoted says that the scalar is a string whatever it looks like.
	quoted  bool
	entries []entry // of a mapping, in their order
	items   []*node // of a list
	// faulty says of a whole document that an error was found in it already.
	faulty bool
}

// entry is a key and its value in a mapping.
type entry struct{ key, value *node }

type kind int

const (
	scalar kind = iota + 1
	mapping
	list
)

// maxDepth is how deep mappings and lists may be nested.
const maxDepth = 50

// maxScalar is how many bytes a value may have.
const maxScalar = 16 << 10

// meaning is what a plain scalar means to a reader of YAML.
type meaning int

const (
	meansString meaning = iota
	meansNull
	meansBoolean
	meansNumber
)

func (m meaning) String() string {
	return [...]string{"string", "null", "boolean", "number"}[m]
}

// meanings tells strings from everything that some version of YAML takes for
// something else: yes and no are booleans in YAML 1.1 (and in many a program),
// 012 and 1_000 are numbers there. A policy that means different things to
// different readers is not a policy.
type meanings struct{ null, boolean, number *regexp.Regexp }

func newMeanings() meanings {
	return meanings{
		null:    regexp.MustCompile(`^(~|null|Null|NULL)?$`),
		boolean: regexp.MustCompile(`^(y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`),
		number: regexp.MustCompile(`^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*|` +
			`[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|` + // base 60
			`(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$`),
	}
}

// of returns what a scalar means.
func (m meanings) of(n *node) meaning {
	switch {
	case n.quoted, len(n.value) > maxScalar: // so long a word is refused anyhow
		return meansString
	case m.null.MatchString(n.value):
		return meansNull
	case m.boolean.MatchString(n.value):
		return meansBoolean
	case m.number.MatchString(n.value):
		return meansNumber
	default:
		return meansString
	}
}
