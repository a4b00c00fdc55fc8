package diff

import (
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/model"
)

// atoms are all the ways in which two entries compare principals: whoever
// matches the same atoms is treated the same by both.
type atoms struct{ exact, prefix, suffix []string }

// atomsOf are those of the entries, each of which may be nil, at gateways of
// the trust domains.
func atomsOf(sides ...side) atoms {
	var a atoms
	for _, s := range sides {
		if s.entry == nil || !s.entry.Registered {
			continue // refused, whoever asks
		}
		a.add(s.entry.ExportMatches(s.gateway.TrustDomain))
		for _, r := range s.entry.Rules {
			a.add(r.From)
			for _, term := range r.Who {
				a.add(term.All)
				a.add(term.Not)
			}
		}
	}
	for _, list := range []*[]string{&a.exact, &a.prefix, &a.suffix} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return a
}

func (a *atoms) add(matches []model.PrincipalMatch) {
	for _, m := range matches {
		switch {
		case m.Value == "": // everyone, everyone with a name, or nobody
		case m.Kind == model.MatchExact:
			a.exact = append(a.exact, m.Value)
		case m.Kind == model.MatchPrefix:
			a.prefix = append(a.prefix, m.Value)
		case m.Kind == model.MatchSuffix:
			a.suffix = append(a.suffix, m.Value)
		}
	}
}

// key tells lists of atoms apart.
func (a atoms) key() string {
	var b strings.Builder
	for _, list := range [][]string{a.exact, a.prefix, a.suffix} {
		for _, s := range list {
			b.WriteString(strconv.Quote(s))
		}
		b.WriteByte(';')
	}
	return b.String()
}

// texts are the strings that a principal may start with or be, sorted.
func (a atoms) texts() []text {
	out := make([]text, 0, len(a.exact)+len(a.prefix))
	for _, s := range a.exact {
		out = append(out, text{s: s, exact: true})
	}
	for _, s := range a.prefix {
		out = append(out, text{s: s, prefix: true})
	}
	slices.SortFunc(out, func(a, b text) int { return strings.Compare(a.s, b.s) })
	merged := out[:0]
	for _, t := range out {
		if n := len(merged); n > 0 && merged[n-1].s == t.s {
			merged[n-1].exact, merged[n-1].prefix = true, true
			continue
		}
		merged = append(merged, t)
	}
	return merged
}

// text is an exact atom, a prefix, or both.
type text struct {
	s             string
	exact, prefix bool
}
