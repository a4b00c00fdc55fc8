package main

import (
	"fmt"
	"strings"
)

// around is how many lines are shown around a change.
const around = 3

// unifiedDiff shows how a text changes, as `diff -u` and patch know it.
func unifiedDiff(name, before, after string) string {
	a, b := splitLines(before), splitLines(after)
	edits := lineEdits(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name, name)
	for start := 0; start < len(edits); {
		for start < len(edits) && edits[start].mark == ' ' {
			start++
		}
		if start == len(edits) {
			break
		}
		// A hunk goes on until there are enough equal lines for two contexts.
		end, equal := start, 0
		for i := start; i < len(edits) && equal <= 2*around; i++ {
			if edits[i].mark == ' ' {
				equal++
			} else {
				end, equal = i+1, 0
			}
		}
		from, to := max(start-around, 0), min(end+around, len(edits))
		writeHunk(&out, edits[from:to])
		start = end
	}
	return out.String()
}

// lineEdit is a line with what happens to it: it stays, goes (-) or comes (+).
type lineEdit struct {
	mark byte
	text string
	// a and b are its number in both texts, from 0; of the next line there if the
	// text does not have it.
	a, b int
}

func writeHunk(out *strings.Builder, edits []lineEdit) {
	var inA, inB int
	for _, e := range edits {
		if e.mark != '+' {
			inA++
		}
		if e.mark != '-' {
			inB++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", hunkRange(edits[0].a, inA), hunkRange(edits[0].b, inB))
	for _, e := range edits {
		out.WriteByte(e.mark)
		out.WriteString(e.text)
		if !strings.HasSuffix(e.text, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

func hunkRange(start, count int) string {
	if count == 0 {
		return fmt.Sprintf("%d,0", start)
	}
	return fmt.Sprintf("%d,%d", start+1, count)
}

func splitLines(s string) []string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, line)
	}
	return out
}

// maxTable bounds the memory for finding the fewest edits. Texts that differ in
// more are shown as one change.
const maxTable = 10_000_000

// lineEdits finds few edits that make b of a: the longest common subsequence,
// between what both begin and end with.
func lineEdits(a, b []string) []lineEdit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out []lineEdit
	for i := range head {
		out = append(out, lineEdit{' ', a[i], i, i})
	}
	out = append(out, middleEdits(a[head:len(a)-tail], b[head:len(b)-tail], head)...)
	for i := range tail {
		out = append(out, lineEdit{' ', a[len(a)-tail+i], len(a) - tail + i, len(b) - tail + i})
	}
	return out
}

func middleEdits(a, b []string, offset int) []lineEdit {
	width := len(b) + 1
	var common []int32 // at i*width+j: the longest common subsequence of a[i:] and b[j:]
	if (len(a)+1)*width <= maxTable {
		common = make([]int32, (len(a)+1)*width)
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				if a[i] == b[j] {
					common[i*width+j] = common[(i+1)*width+j+1] + 1
				} else {
					common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
				}
			}
		}
	}
	var out []lineEdit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case common != nil && i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, lineEdit{' ', a[i], offset + i, offset + j})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common == nil || common[(i+1)*width+j] >= common[i*width+j+1]):
			out = append(out, lineEdit{'-', a[i], offset + i, offset + j})
			i++
		default:
			out = append(out, lineEdit{'+', b[j], offset + i, offset + j})
			j++
		}
	}
	return out
}
