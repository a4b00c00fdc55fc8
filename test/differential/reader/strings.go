package reader

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// stringMatch says whether a string matches.
type stringMatch func(string) bool

// fullMatch is Envoy's safe_regex: RE2, the whole string.
func (r *parser) fullMatch(expression string) (stringMatch, error) {
	if known := r.regexes[expression]; known != nil {
		return known.MatchString, nil
	}
	re, err := regexp.Compile(`^(?:` + expression + `)$`)
	if err != nil {
		return nil, err
	}
	r.regexes[expression] = re
	return re.MatchString, nil
}

// stringMatcher reads envoy.type.matcher.v3.StringMatcher.
func (r *parser) stringMatcher(m *matcher.StringMatcher) (stringMatch, error) {
	if m == nil {
		return nil, errors.New("a string matcher is missing")
	}
	if err := only(m, "exact", "prefix", "suffix", "contains", "safe_regex"); err != nil {
		return nil, err
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcher.StringMatcher_SafeRegex:
		if err := only(p.SafeRegex, "regex"); err != nil {
			return nil, err
		}
		return r.fullMatch(p.SafeRegex.GetRegex())
	case *matcher.StringMatcher_Exact:
		return exact(p.Exact), nil
	case *matcher.StringMatcher_Prefix:
		return prefix(p.Prefix)
	case *matcher.StringMatcher_Suffix:
		return suffix(p.Suffix)
	case *matcher.StringMatcher_Contains:
		return contains(p.Contains)
	default:
		return nil, errors.New("a string matcher matches nothing")
	}
}

// valueMatch reads xds.type.matcher.v3.StringMatcher, which is the same thing
// under another name.
func (r *parser) valueMatch(m *xdsmatcher.StringMatcher) (stringMatch, error) {
	if err := only(m, "exact", "prefix", "suffix", "contains", "safe_regex"); err != nil {
		return nil, err
	}
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcher.StringMatcher_SafeRegex:
		if err := only(p.SafeRegex, "regex", "google_re2"); err != nil {
			return nil, err
		}
		if p.SafeRegex.GetGoogleRe2() == nil {
			return nil, errors.New("a safe_regex without an engine: Envoy refuses it")
		}
		return r.fullMatch(p.SafeRegex.GetRegex())
	case *xdsmatcher.StringMatcher_Exact:
		return exact(p.Exact), nil
	case *xdsmatcher.StringMatcher_Prefix:
		return prefix(p.Prefix)
	case *xdsmatcher.StringMatcher_Suffix:
		return suffix(p.Suffix)
	case *xdsmatcher.StringMatcher_Contains:
		return contains(p.Contains)
	default:
		return nil, errors.New("a string matcher matches nothing")
	}
}

func exact(want string) stringMatch { return func(s string) bool { return s == want } }

func prefix(want string) (stringMatch, error) {
	return func(s string) bool { return strings.HasPrefix(s, want) }, notEmpty("prefix", want)
}

func suffix(want string) (stringMatch, error) {
	return func(s string) bool { return strings.HasSuffix(s, want) }, notEmpty("suffix", want)
}

func contains(want string) (stringMatch, error) {
	return func(s string) bool { return strings.Contains(s, want) }, notEmpty("contains", want)
}

// notEmpty is what the messages' validation rules demand.
func notEmpty(what, s string) error {
	if s == "" {
		return fmt.Errorf("a string matcher's %s is empty: Envoy refuses it", what)
	}
	return nil
}
