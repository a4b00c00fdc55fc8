// Package policy turns a directory into the policy that is in force: source
// reads the files, syntax decodes them into documents, compile makes the model.
// It is the one way in for everything that loads policy, so that the control
// plane, validate, explain and test find the same.
package policy

import (
	"crypto/sha256"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Loader loads a directory again and again. It remembers the files of the last
// time, so that an edit costs only what was edited. The zero Loader is ready to
// use. It is not safe for concurrent use; what it returns is, as nothing changes
// it any more.
type Loader struct {
	// Limits bound what is read; zero fields mean their defaults.
	Limits source.Limits

	reader   source.Reader
	decoder  syntax.Decoder
	compiler compile.Compiler
}

// Result is what a directory says.
type Result struct {
	// Model is nil if the diagnostics have errors: then the last good one stays
	// in force.
	Model *model.Model
	// Documents are those that could be decoded. Do not change them.
	Documents *syntax.Documents
	// Digest is of the paths and contents of the files that were read. The same
	// files make the same model until the next of its Expiries.
	Digest [sha256.Size]byte
	// Files is how many files were read.
	Files int
	// Tree is what was read; not complete if the diagnostics have errors. Do not
	// change it.
	Tree source.Tree
	// Diagnostics are all findings, sorted.
	Diagnostics diag.List
}

// Load reads, decodes and compiles the directory as it is in force at the
// moment now. It finds all errors of all files in one go, except that what the
// documents mean together is only judged when all of them could be read.
func (l *Loader) Load(dir string, now time.Time) Result {
	l.reader.Limits = l.Limits
	tree, diags := l.reader.Read(dir)
	return l.load(tree, diags, now)
}

// load decodes and compiles what was read.
func (l *Loader) load(tree source.Tree, diags diag.List, now time.Time) Result {
	docs, found := l.decoder.Decode(tree.Files)
	return compiled(tree, docs, append(diags, found...), now, l.compiler.Compile)
}

// LoadTree decodes and compiles files that were read at another time, as Load
// would a directory with them.
func LoadTree(tree source.Tree, now time.Time) Result {
	var decoder syntax.Decoder
	docs, diags := decoder.Decode(tree.Files)
	return compiled(tree, docs, diags, now, compile.Compile)
}

// compiled is the result for what was read and decoded.
func compiled(tree source.Tree, docs *syntax.Documents, diags diag.List, now time.Time, compiler func(*syntax.Documents, time.Time) (*model.Model, diag.List)) Result {
	r := Result{Documents: docs, Digest: tree.Digest, Files: len(tree.Files), Tree: tree}
	if diags.HasErrors() {
		diags = append(diags, compile.Check(docs, now)...)
	} else {
		var found diag.List
		r.Model, found = compiler(docs, now)
		diags = append(diags, found...)
	}
	diags.Sort()
	r.Diagnostics = diags
	return r
}
