package ui

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Column is a heading that a list can be sorted by.
type Column[T any] struct {
	// Key is its name in the address, and Title the heading.
	Key, Title string
	// Compare orders by it; nil if nobody sorts by it. Class is for the style: num or
	// wide.
	Compare func(a, b T) int
	Class   string
}

// Heading is a column as the template "headings" shows it.
type Heading struct {
	Title, Class string
	// Address sorts by it, or the other way round; empty if nothing does.
	Address string
	// Sorted is ascending or descending, or empty.
	Sorted string
}

// Listing is the part of a list that a page shows.
type Listing[T any] struct {
	Headings []Heading
	Rows     []T
	Pager    Pager
}

// Pager is where in a list the page is. Addresses are empty at its ends.
type Pager struct {
	Total, First, Last, Page, Pages int
	Previous, Next                  string
	// Sort and Order are those of the query, for forms.
	Sort string
}

// list sorts all by what the query says, and takes the page that it says. Rows that are
// equal stay as they are.
func list[T any](q Query, columns []Column[T], all []T, size int) Listing[T] {
	sort, descending := strings.CutPrefix(q.Get("sort"), "-")
	var out Listing[T]
	for _, c := range columns {
		h := Heading{Title: c.Title, Class: c.Class}
		if c.Compare != nil {
			h.Address = q.With("sort", c.Key, "page", "")
		}
		if c.Key == sort && c.Compare != nil {
			h.Sorted = "ascending"
			compare := c.Compare
			if descending {
				h.Sorted, compare = "descending", func(a, b T) int { return c.Compare(b, a) }
			} else {
				h.Address = q.With("sort", "-"+c.Key, "page", "")
			}
			all = slices.SortedStableFunc(slices.Values(all), compare)
		}
		out.Headings = append(out.Headings, h)
	}
	p := Pager{Total: len(all), Pages: max(1, (len(all)+size-1)/size), Sort: q.Get("sort")}
	p.Page = min(q.Number("page"), p.Pages)
	first := (p.Page - 1) * size
	last := min(first+size, len(all))
	out.Rows = all[first:last]
	p.First, p.Last = min(first+1, last), last
	if p.Page > 1 {
		p.Previous = q.With("page", strconv.Itoa(p.Page-1))
	}
	if p.Page < p.Pages {
		p.Next = q.With("page", strconv.Itoa(p.Page+1))
	}
	out.Pager = p
	return out
}

// by is a comparison of what a function takes of the rows.
func by[T any, V cmp.Ordered](of func(T) V) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(of(a), of(b)) }
}
