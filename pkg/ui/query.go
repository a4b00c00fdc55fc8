package ui

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Query is the address that a page was asked for with, to make others from.
type Query struct {
	path   string
	values url.Values
}

// queryOf is that of a page, and for a page's stream that of the page.
func queryOf(r *http.Request) Query {
	path, live := strings.CutSuffix(r.URL.Path, liveSuffix)
	if live && path+"/" == Root {
		path = Root
	}
	return Query{path, r.URL.Query()}
}

// Get is the value of a name, without space around it; empty if there is none.
func (q Query) Get(name string) string { return strings.TrimSpace(q.values.Get(name)) }

// Number is a value as a number from 1, and 1 if it is none.
func (q Query) Number(name string) int {
	if n, err := strconv.Atoi(q.Get(name)); err == nil && n > 0 {
		return n
	}
	return 1
}

// With is the same page with other values, pairs of name and value; an empty value takes
// the name away.
func (q Query) With(pairs ...string) string {
	values := maps.Clone(q.values)
	if values == nil {
		values = url.Values{}
	}
	return addressOf(q.path, values, pairs...)
}

// Address is a page with a query, pairs of name and value.
func Address(page string, pairs ...string) string {
	return addressOf(Root+page, url.Values{}, pairs...)
}

func addressOf(path string, values url.Values, pairs ...string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			values.Del(pairs[i])
		} else {
			values.Set(pairs[i], pairs[i+1])
		}
	}
	if len(values) == 0 {
		return path
	}
	return path + "?" + values.Encode()
}
