package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/policy/model"
)

// many is how many lines that are alike, or elements of a list, are shown as
// such; of more, only the first.
const many = 3

// line is what is shown as one: a difference, or several that are about the same
// principals or the same hosts.
type line struct {
	effect     Effect
	principals []Class
	hosts      []Region
	*Access        // the first of them
	more       int // how many there are besides
}

// linesOf are the lines about access. Without full, four and more that differ
// by their rules and hosts only, or by their rules and principals only, are one.
func linesOf(list []*Access, full bool) []line {
	out := make([]line, 0, len(list))
	for _, a := range list {
		out = append(out, line{
			effect: []Effect{Widened, Narrowed, Neutral}[a.Kind], principals: a.Principals, hosts: a.Hosts, Access: a,
		})
	}
	if full {
		return out
	}
	out = condense(out, func(l line) string { return keyOf(l.principals) }, func(to *line, l line) { to.hosts = append(to.hosts, l.hosts...) })
	return condense(out, func(l line) string { return fmt.Sprint(l.hosts) }, func(to *line, l line) {
		to.principals = append(to.principals, l.principals...)
	})
}

// condense joins lines that have a key in common, if they are many.
func condense(lines []line, key func(line) string, join func(to *line, l line)) []line {
	type group struct {
		kind Kind
		ways string
		key  string
	}
	of := func(l line) group { return group{l.Kind, waysWords(l.Access), key(l)} }
	count := map[group]int{}
	for _, l := range lines {
		count[of(l)]++
	}
	at := map[group]int{}
	var out []line
	for _, l := range lines {
		g := of(l)
		i, ok := at[g]
		if count[g] <= many || !ok {
			at[g] = len(out)
			l.principals, l.hosts = slices.Clone(l.principals), slices.Clone(l.hosts)
			out = append(out, l)
			continue
		}
		join(&out[i], l)
		out[i].more += 1 + l.more
	}
	return out
}

// said is a line in words: what happened to whom, and by what.
type said struct{ who, does, hosts, now, was string }

func (l line) say(full bool) said {
	s := said{
		who:   strings.Join(few(whoWords(l.principals, full), full), ", "),
		does:  map[Kind]string{Gained: "may now reach", Lost: "may no longer reach", Decided: "to"}[l.Kind],
		hosts: strings.Join(few(hostWords(l.hosts, full), full), ", ") + waysWords(l.Access),
		now:   l.After.words(), was: l.Before.words(),
	}
	if l.more > 0 {
		s.now += fmt.Sprintf(" and %s like it", plural(l.more, "more", "more"))
	}
	return s
}

// waysWords says how, where that is not every way there is.
func waysWords(a *Access) string {
	if a.InAllWays {
		return ""
	}
	return " by " + join(a.Ways, model.Way.String)
}

func (o Outcome) words() string {
	out := "refused: " + string(o.Reason)
	if o.Verdict == model.Allow {
		out = "allow"
		if o.Rule == "" {
			out += " by " + string(o.Reason)
		}
	}
	if o.Rule != "" {
		out += " by " + o.Rule + " " + o.Position.String()
	}
	if o.RegisteredBy != "" {
		out += ", registered by " + o.RegisteredBy
		if !o.RegisteredAt.IsZero() {
			out += " " + o.RegisteredAt.String()
		}
	}
	return out
}

// whoWords names classes; everyone with an identity and the one without are
// everyone.
func whoWords(classes []Class, full bool) []string {
	anonymous := slices.IndexFunc(classes, func(c Class) bool { return c.Anonymous })
	everyone := anonymous >= 0 && slices.ContainsFunc(classes, Class.everyoneNamed)
	var out []string
	for i, c := range classes {
		name := c.String()
		switch {
		case everyone && i == anonymous:
			continue
		case everyone && c.everyoneNamed():
			name = "everyone"
		}
		out = append(out, name+exceptWords(patternsOf(c.Except), full))
	}
	return out
}

func hostWords(regions []Region, full bool) []string {
	out := make([]string, len(regions))
	for i, r := range regions {
		var except []string
		for _, x := range r.Except {
			except = append(except, pattern(x))
		}
		out[i] = pattern(r.Pattern) + exceptWords(except, full)
	}
	return out
}

func exceptWords(list []string, full bool) string {
	if len(list) == 0 {
		return ""
	}
	return " (except " + strings.Join(few(list, full), ", ") + ")"
}

// few shortens a list.
func few(list []string, full bool) []string {
	if full || len(list) <= many {
		return list
	}
	return append(slices.Clone(list[:many-1]), fmt.Sprintf("%s and %d more", list[many-1], len(list)-many))
}

// say is the setting in words: what it is and where, the values, and where the
// new one is written, or the old one was.
func (s Setting) say(full bool) (what, values, where string) {
	what = s.What
	if len(s.Hosts) > 0 {
		what += " of " + strings.Join(few(hostWords(s.Hosts, full), full), ", ")
	}
	switch {
	case s.Before == "":
		values = s.After
	case s.After == "":
		values = "no longer " + s.Before
	default:
		values = s.Before + " → " + s.After
	}
	at := s.AfterAt
	if s.After == "" && !s.BeforeAt.IsZero() || at.IsZero() {
		at = s.BeforeAt
	}
	return what, values, at.String()
}

// Summary is the report in one line.
func (r *Report) Summary() string {
	if !r.Changed() {
		return "nothing changes"
	}
	answer := "nothing is widened"
	if r.Widened() {
		answer = "widened"
	}
	var gains, losses, others, settings int
	for _, g := range r.Gateways {
		for _, a := range g.Access {
			switch a.Kind {
			case Gained:
				gains++
			case Lost:
				losses++
			default:
				others++
			}
		}
		settings += len(g.Settings)
	}
	var parts []string
	for _, p := range []struct {
		n            int
		one, several string
	}{{gains, "gain", "gains"}, {losses, "loss", "losses"}, {others, "other reason", "other reasons"}, {settings, "setting", "settings"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.one, p.several))
		}
	}
	return answer + ": " + strings.Join(parts, ", ")
}

func plural(n int, one, several string) string {
	if n == 1 {
		several = one
	}
	return strconv.Itoa(n) + " " + several
}
