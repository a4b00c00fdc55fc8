package differential

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// The universe is small, so that what is drawn from it meets: patterns nest,
// namespaces are prefixes of one another, principals occur in several rules.

const (
	trustDomain = "td.test"
	otherDomain = "td.test.other"
)

func namespaces() []string      { return []string{"a", "ab", "b"} }
func serviceAccounts() []string { return []string{"x", "xy", "z"} }

func spiffeID(domain, namespace, account string) string {
	return "spiffe://" + domain + "/ns/" + namespace + "/sa/" + account
}

// principals are those that connections are tried with; the empty one is the
// anonymous principal.
func principals() []string {
	out := []string{
		"",
		"spiffe://" + trustDomain + "/ns/a/",
		"spiffe://" + trustDomain + "/ns/a",
		"spiffe://" + trustDomain + "/other",
		spiffeID(otherDomain, "a", "x"),
		"spiffe://td.tes/ns/a/sa/x",
	}
	for _, ns := range namespaces() {
		for _, sa := range serviceAccounts() {
			out = append(out, spiffeID(trustDomain, ns, sa))
		}
	}
	return append(out, spiffeID(trustDomain, "a", manyAccount(3)))
}

// manyAccount is a service account of the rules with very many principals.
func manyAccount(i int) string { return fmt.Sprintf("many%d", i) }

// names are host names of the universe.
func names() []string {
	var out []string
	for _, top := range []string{"test", "co.test", "x"} {
		for _, first := range []string{"a", "b", "xn--bcher-kva", "1-2"} {
			out = append(out, first+"."+top)
			for _, second := range []string{"a", "b", "_s"} {
				out = append(out, second+"."+first+"."+top, "c."+second+"."+first+"."+top)
			}
		}
	}
	return out
}

func pattern() *rapid.Generator[hostname.Pattern] {
	return rapid.Custom(func(t *rapid.T) hostname.Pattern {
		name := rapid.SampledFrom(names()).Draw(t, "name")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1, 2, 3, 4:
			return mustPattern(name)
		case 5, 6, 7:
			return mustPattern("*." + name)
		case 8:
			_, parent, _ := strings.Cut(name, ".")
			return mustPattern("*." + parent)
		default:
			return mustPattern("*")
		}
	})
}

func mustPattern(s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	if err != nil {
		panic(err)
	}
	return p
}

func patterns(all ...string) []hostname.Pattern {
	var out []hostname.Pattern
	for _, s := range all {
		out = append(out, mustPattern(s))
	}
	return out
}

// meantNames are names in and beside every pattern of a gateway.
func meantNames(g *model.Gateway) []string {
	var out []string
	for _, e := range g.Entries {
		base := e.Pattern.Base()
		switch {
		case e.Pattern.IsAny():
			out = append(out, "nobody.heard.of.example")
		case e.Pattern.IsWildcard():
			out = append(out, base, "w."+base, "v.w."+base, "w"+base)
		default:
			out = append(out, base, "w."+base, strings.Replace(base, ".", "-", 1))
		}
	}
	return out
}

// wireNames are server names that a client could send to meet a gateway: names
// in and beside every pattern, as they are and spoilt in many ways.
func wireNames(t *rapid.T, g *model.Gateway) []string {
	meant := append(meantNames(g), rapid.SampledFrom(names()).Draw(t, "another name"))
	out := append([]string{""}, meant...)
	for range 16 {
		name := rapid.SampledFrom(meant).Draw(t, "name to spoil")
		out = append(out, rapid.SampledFrom(spoilt(name)).Draw(t, "spoilt"))
	}
	return out
}

// spoilt are misspellings of a name, and names that are none.
func spoilt(name string) []string {
	_, parent, _ := strings.Cut(name, ".")
	long := func(n int, under string) string { // a name of n bytes
		s := under
		for len(s)+64 < n {
			s = strings.Repeat("l", 63) + "." + s
		}
		if rest := n - len(s) - 1; rest > 0 {
			s = strings.Repeat("l", rest) + "." + s
		}
		return s
	}
	return []string{
		strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:],
		name + ".", "." + name, name + "..", strings.Replace(name, ".", "..", 1),
		"127.0.0.1", "2130706433", "0x7f.1", "::1", "[::1]", "169.254.169.254." + name,
		name + ".1", name + ".123", "1." + name, name + ".0x7f",
		name + "\x00", "a\x00." + name, "\x00", name + "\n", "\n" + name, "a b." + name, "\t." + name, "a\x7f." + name,
		"_x." + name, "x_." + name, "-a." + name, "a-." + name, "a-b." + name, "-." + name, "a.-", name + "-",
		"*." + name, "*", "b\xc3\xbccher." + name, "\xff." + name, "%41." + name, "a:443." + name, name + ":443", "user@" + name, "a/b." + name,
		strings.Repeat("l", 63) + "." + name, strings.Repeat("l", 64) + "." + name,
		long(253, name), long(254, name), long(255, name), long(256, name), long(300, name),
		"%DOWNSTREAM_PEER_URI_SAN%." + name, parent, "x" + name,
	}
}
