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

	documents int
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
	// Unknown says that it was left out although nobody knows what it means.
	Unknown bool `json:"unknown,omitempty"`
	// Notes say what a reader should know of what was made of it.
	Notes []string `json:"notes,omitempty"`
}

// Documents is how many documents were there to be written anew: those of kinds
// that are known here.
func (r *Report) Documents() int { return r.documents }

// Unknown is how many documents were left out although nobody knows what they
// mean. Nothing can be said about the whole then.
func (r *Report) Unknown() int {
	n := 0
	for _, i := range r.LeftOut {
		if i.Unknown {
			n++
		}
	}
	return n
}

// Equal reports whether the result means what the documents of known kinds
// meant.
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
