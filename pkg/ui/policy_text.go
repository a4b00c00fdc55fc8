package ui

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

const (
	// linesShown is how many lines of a file are on a page.
	linesShown = 2000
	// lineLength is how much of a line is shown, in bytes.
	lineLength = 4000
)

// fileText is the page of one file.
type fileText struct {
	policyFile
	// Now says that this is the file in the directory as it is now, which is refused;
	// and Other that there is one of the other kind.
	Now, Other bool
	Lines      []textLine
	Pager      Pager
	Use        use
	Found      []diag.Diagnostic
}

// Title is the file's name.
func (f fileText) Title() string { return Visible(f.Path) }

// textLine is a line with what is known about it.
type textLine struct {
	Number int
	Parts  []textPart
	// Rules begin in the line.
	Rules []ruleUse
	// Found are what is wrong with it.
	Found []diag.Diagnostic
}

// textPart is a piece of a line, or a character that does not show.
type textPart struct {
	Text   string
	Hidden bool
}

// ruleUse is a rule with how it is used.
type ruleUse struct {
	fileRule
	Use
	Unused bool
}

// Use is use, for templates.
type Use = use

func (u *UI) filePage() Page {
	return Page{
		Name: "policies/file", Title: "File", Under: "policies",
		Data: func(r *http.Request) (any, error) {
			q, p := queryOf(r), u.o.Control.Policy()
			path := q.values.Get("path")
			inForce, refused := u.index.get(p).by[path], fileIn(p.Refused, path)
			out := fileText{Now: refused != nil && (inForce == nil || q.Get("now") != "")}
			switch {
			case inForce == nil && refused == nil:
				return nil, &problem{http.StatusNotFound, fmt.Sprintf("There is no policy file %s in force.", Visible(path))}
			case out.Now:
				out.policyFile, out.Other = policyFile{Path: path, Data: refused.Data}, inForce != nil
				for _, d := range u.now().Errors {
					if d.Pos.File == path {
						out.Found = append(out.Found, d)
					}
				}
			default:
				out.policyFile, out.Other = *inForce, refused != nil && !bytes.Equal(refused.Data, inForce.Data)
			}
			known, err := u.ruleUses()
			if err != nil {
				return nil, err
			}
			out.lines(q, known)
			return out, nil
		},
	}
}

// lines takes those of a page.
func (f *fileText) lines(q Query, known uses) {
	rules := make(map[int][]ruleUse)
	for _, r := range f.Rules {
		one, used := known.by[r.ID]
		f.Use.add(one)
		rules[r.Line] = append(rules[r.Line], ruleUse{r, one, !used && !r.Audit})
	}
	found := make(map[int][]diag.Diagnostic)
	for _, d := range f.Found {
		found[d.Pos.Line] = append(found[d.Pos.Line], d)
	}
	all := bytes.Split(bytes.TrimSuffix(f.Data, []byte("\n")), []byte("\n"))
	listed := list(q, nil, all, linesShown)
	f.Pager = listed.Pager
	for i, text := range listed.Rows {
		n := f.Pager.First + i
		f.Lines = append(f.Lines, textLine{Number: n, Parts: partsOf(string(text)), Rules: rules[n], Found: found[n]})
	}
}

// partsOf cuts a line at what does not show.
func partsOf(line string) []textPart {
	if len(line) > lineLength {
		line = strings.ToValidUTF8(line[:lineLength], "") + "…"
	}
	line = strings.TrimSuffix(line, "\r")
	var out []textPart
	from := 0
	for i, r := range line {
		if r == '\t' || !hidden(r) {
			continue
		}
		if i > from {
			out = append(out, textPart{Text: line[from:i]})
		}
		out = append(out, textPart{Text: fmt.Sprintf("U+%04X", r), Hidden: true})
		_, size := utf8.DecodeRuneInString(line[i:])
		from = i + size
	}
	if from < len(line) {
		out = append(out, textPart{Text: line[from:]})
	}
	return out
}

// fileIn is a file of a tree, or nil.
func fileIn(t source.Tree, path string) *source.File {
	for i := range t.Files {
		if t.Files[i].Path == path {
			return &t.Files[i]
		}
	}
	return nil
}

// lineOf is the text of a line in a tree, shortened; empty if it is not there.
func lineOf(t source.Tree, p diag.Position) string {
	f := fileIn(t, p.File)
	if f == nil || p.Line < 1 {
		return ""
	}
	data := f.Data
	for range p.Line - 1 {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return ""
		}
		data = rest
	}
	data, _, _ = bytes.Cut(data, []byte("\n"))
	const most = 200
	return strings.ToValidUTF8(strings.TrimSpace(string(data[:min(len(data), most)])), "")
}
