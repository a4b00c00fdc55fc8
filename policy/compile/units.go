package compile

import (
	"slices"

	"sallyport/policy/syntax"
)

// units are what is known of single documents: units[i] of docs[i].
type units[D comparable, U any] struct {
	docs  []D
	units []U
}

// change are the units that are no longer there, and those that are new.
type change[U any] struct{ gone, came []U }

func (c change[U]) isEmpty() bool { return len(c.gone)+len(c.came) == 0 }

// with are the units of other documents: those of the documents that are still
// there stay, wherever they stand now. make is given, besides a new document,
// the unit of one that went and was the same to a person, if one was.
func (u units[D, U]) with(docs []D, make func(doc D, before U) U, same func(D) any) (units[D, U], change[U]) {
	start := 0
	for start < min(len(docs), len(u.docs)) && docs[start] == u.docs[start] {
		start++
	}
	if start == len(docs) && start == len(u.docs) {
		return u, change[U]{}
	}
	end := 0
	for end < min(len(docs), len(u.docs))-start && docs[len(docs)-1-end] == u.docs[len(u.docs)-1-end] {
		end++
	}
	out := units[D, U]{docs: docs, units: slices.Clone(u.units[:start])}
	out.units = slices.Grow(out.units, len(docs)-start)
	oldDocs, oldUnits := u.docs[start:len(u.docs)-end], u.units[start:len(u.docs)-end]
	at := map[D]int{}
	for i, doc := range oldDocs {
		at[doc] = i
	}
	stays := map[D]bool{}
	for _, doc := range docs[start : len(docs)-end] {
		if _, ok := at[doc]; ok {
			stays[doc] = true
		}
	}
	var c change[U]
	bySame := map[any]U{}
	for i, doc := range oldDocs {
		if stays[doc] {
			continue
		}
		c.gone = append(c.gone, oldUnits[i])
		if same != nil {
			bySame[same(doc)] = oldUnits[i]
		}
	}
	for _, doc := range docs[start : len(docs)-end] {
		if i, ok := at[doc]; ok {
			out.units = append(out.units, oldUnits[i])
			continue
		}
		var before U
		if same != nil && len(bySame) > 0 {
			before = bySame[same(doc)]
		}
		unit := make(doc, before)
		out.units = append(out.units, unit)
		c.came = append(c.came, unit)
	}
	out.units = append(out.units, u.units[len(u.units)-end:]...)
	return out, c
}

// named is how a person tells documents of a kind apart.
type named struct{ namespace, name string }

func nameOf(m *syntax.Meta) named { return named{m.Namespace, m.Name} }

func sameName[D any](meta func(D) *syntax.Meta) func(D) any {
	return func(doc D) any { return nameOf(meta(doc)) }
}
