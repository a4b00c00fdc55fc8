package migrate

import (
	"sallyport/pkg/diag"
	"sallyport/policy/diff"
)

// Report says what became of each document. It is plain data; WriteText shows
// it to people, JSON to programs.
type Report struct {
	// Converted are those whose meaning is in what was written.
	Converted []Item `json:"converted"`
	// Carried are those that were in our language already.
	Carried []Item `json:"carried"`
	// Kept are those of which our language cannot say all: they are written as
	// they were.
	Kept []Item `json:"kept"`
	// LeftOut are those that say nothing here.
	LeftOut []Item `json:"leftOut"`
	// Notes are about the whole.
	Notes []string `json:"notes"`
	// Warnings are about the documents as they were.
	Warnings diag.List `json:"warnings"`
	// Differences is what the result means differently.
	Differences *diff.Report `json:"differences"`
}

// Item is one document of the input.
type Item struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace,omitempty"`
	Name      string        `json:"name"`
	Position  diag.Position `json:"position"`
	// Into are the documents that were made of it.
	Into []string `json:"into,omitempty"`
	// Why says why it was kept or left out, and Todo what is to be done.
	Why  string `json:"why,omitempty"`
	Todo string `json:"todo,omitempty"`
	// Notes say what a reader should know of what was made of it.
	Notes []string `json:"notes,omitempty"`
}

// Equal reports whether the result means what was there.
func (r *Report) Equal() bool { return !r.Differences.Changed() }

// Widened reports whether the result allows anything that was refused, or it
// cannot be ruled out.
func (r *Report) Widened() bool { return r.Differences.Widened() }

func (i Item) fullName() string {
	if i.Namespace == "" {
		return i.Kind + " " + i.Name
	}
	return i.Kind + " " + i.Namespace + "/" + i.Name
}
