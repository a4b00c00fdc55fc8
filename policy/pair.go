package policy

import (
	"sync"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Moment is a directory as it is in force at a moment.
type Moment struct {
	Dir string
	At  time.Time
}

// LoadPair loads two directories to be compared, with all processors there are.
// Of two that are mostly alike, what they have in common is decoded once.
func LoadPair(a, b Moment) (Result, Result) {
	var trees [2]source.Tree
	var diags [2]diag.List
	var results [2]Result
	moments := [2]Moment{a, b}
	var reading sync.WaitGroup
	for i, m := range moments {
		reading.Go(func() { trees[i], diags[i] = source.Read(m.Dir, source.Limits{}) })
	}
	reading.Wait()

	var working sync.WaitGroup
	finish := func(i int, decoder *syntax.Decoder) func() {
		docs, found := decoder.Decode(trees[i].Files)
		return func() {
			results[i] = compiled(trees[i], docs, append(diags[i], found...), moments[i].At, compile.Compile)
		}
	}
	if mostlyAlike(trees[0], trees[1]) {
		var one syntax.Decoder
		working.Go(finish(0, &one))
		finish(1, &one)()
	} else {
		for i := range moments {
			working.Go(func() { finish(i, &syntax.Decoder{})() })
		}
	}
	working.Wait()
	return results[0], results[1]
}

// mostlyAlike reports whether more than half of the bytes are in files that both
// trees have.
func mostlyAlike(a, b source.Tree) bool {
	type file struct {
		path   string
		digest [32]byte
	}
	known := make(map[file]bool, len(a.Files))
	for _, f := range a.Files {
		known[file{f.Path, f.Digest}] = true
	}
	shared, all := 0, 0
	for _, f := range b.Files {
		all += len(f.Data)
		if known[file{f.Path, f.Digest}] {
			shared += len(f.Data)
		}
	}
	return 2*shared > all
}
