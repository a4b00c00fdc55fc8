package diff

import (
	"encoding/binary"
	"slices"
	"strings"

	"sallyport/policy/model"
)

// meanings numbers what rules and entries say, so that two of them can be
// compared, and an answer be found again, without reading them twice.
type meanings struct {
	rules   map[*model.Rule]ruleNumbers
	numbers map[string]uint32
}

// ruleNumbers are equal for two rules that are.
type ruleNumbers struct {
	// says is what the rule decides, whatever it is called; named has its name
	// too, and placed its line as well.
	says, named, placed uint32
}

func newMeanings() *meanings {
	return &meanings{rules: map[*model.Rule]ruleNumbers{}, numbers: map[string]uint32{}}
}

func (m *meanings) number(s string) uint32 {
	n, ok := m.numbers[s]
	if !ok {
		n = uint32(len(m.numbers)) + 1
		m.numbers[s] = n
	}
	return n
}

func (m *meanings) rule(r *model.Rule) ruleNumbers {
	n, ok := m.rules[r]
	if !ok {
		var w words
		w.number(int(r.Action), int(r.Via))
		w.matches(r.From)
		w.number(len(r.Who))
		if r.Who == nil {
			w.number(-1)
		}
		for _, t := range r.Who {
			w.matches(t.All)
			w.matches(t.Not)
		}
		n.says = m.number("r" + string(w))
		w.text(r.ID.String())
		n.named = m.number("i" + string(w))
		w.text(r.Origin.String())
		n.placed = m.number("p" + string(w))
		m.rules[r] = n
	}
	return n
}

// words writes values one after the other such that different ones are written
// differently.
type words []byte

func (w *words) number(numbers ...int) {
	for _, n := range numbers {
		*w = binary.AppendVarint(*w, int64(n))
	}
}

func (w *words) text(s string) {
	w.number(len(s))
	*w = append(*w, s...)
}

func (w *words) matches(list []model.PrincipalMatch) {
	w.number(len(list))
	for _, m := range list {
		w.number(int(m.Kind))
		w.text(m.Value)
	}
}

// sameVerdicts reports whether both sides answer every question about a region
// alike; with reasons, also for the same reason. It may say no although they do.
// It is what makes it cheap to compare what was not edited.
func (m *meanings) sameVerdicts(a, b side, reasons bool) bool {
	if !reasons && !a.registered() && !b.registered() {
		return true // everybody is refused
	}
	switch {
	case a.gateway == nil || b.gateway == nil || a.entry == nil || b.entry == nil:
		return a.gateway == b.gateway && a.entry == b.entry
	case a.entry.Registered != b.entry.Registered,
		(a.entry.Dial.Originate == nil) != (b.entry.Dial.Originate == nil),
		a.fallback() != b.fallback(),
		reasons && a.gateway.HasAllowPolicy != b.gateway.HasAllowPolicy,
		!sameExports(a, b),
		len(a.entry.Rules) != len(b.entry.Rules):
		return false
	}
	same := true
	for i, r := range a.entry.Rules {
		x, y := m.rule(r), m.rule(b.entry.Rules[i])
		same = same && (x.named == y.named || !reasons && x.says == y.says)
	}
	return same || !reasons && slices.Equal(m.says(a.entry), m.says(b.entry))
}

func sameExports(a, b side) bool {
	return (a.entry.ExportTo == nil) == (b.entry.ExportTo == nil) && slices.Equal(a.entry.ExportTo, b.entry.ExportTo) &&
		(a.entry.ExportTo == nil || a.gateway.TrustDomain == b.gateway.TrustDomain)
}

// says are the rules' meanings in an order that names have no part in.
func (m *meanings) says(e *model.Entry) []uint32 {
	out := make([]uint32, len(e.Rules))
	for i, r := range e.Rules {
		out[i] = m.rule(r).says
	}
	slices.Sort(out)
	return out
}

// key is equal for two pairs of sides of the same two gateways if the answers
// to all questions about them are equal, and given by the same lines.
func (m *meanings) key(sides ...side) string {
	var w words
	for _, s := range sides {
		if s.gateway == nil || s.entry == nil {
			w.number(0)
			continue
		}
		e := s.entry
		w.number(1, truth(e.Registered), truth(e.ExportTo == nil), truth(e.Dial.Originate == nil), len(e.Rules))
		w.text(strings.Join(e.ExportTo, "\n"))
		for _, r := range e.Rules {
			w.number(int(m.rule(r).placed))
		}
	}
	return string(w)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
