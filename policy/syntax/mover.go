package syntax

import (
	"reflect"

	"sallyport/pkg/diag"
)

// mover makes documents that stand in other lines, of ones that say the same. It
// costs a tenth of decoding them anew.
type mover struct {
	plans map[reflect.Type][]int
}

func newMover() *mover { return &mover{plans: make(map[reflect.Type][]int)} }

// documents are the documents so many lines further down. Those that they are
// made of stay as they are.
func (m *mover) documents(d *Documents, lines int) *Documents {
	return &Documents{
		Policies:     moved(m, d.Policies, lines),
		Destinations: moved(m, d.Destinations, lines),
		Gateways:     moved(m, d.Gateways, lines),
		Tests:        moved(m, d.Tests, lines),
		Delegations:  moved(m, d.Delegations, lines),
		Istio: Istio{
			AuthorizationPolicies: moved(m, d.Istio.AuthorizationPolicies, lines),
			ServiceEntries:        moved(m, d.Istio.ServiceEntries, lines),
			Gateways:              moved(m, d.Istio.Gateways, lines),
			VirtualServices:       moved(m, d.Istio.VirtualServices, lines),
			DestinationRules:      moved(m, d.Istio.DestinationRules, lines),
		},
	}
}

func moved[T any](m *mover, docs []*T, lines int) []*T {
	if len(docs) == 0 {
		return docs
	}
	out := make([]*T, len(docs))
	for i, doc := range docs {
		copied := *doc
		m.move(reflect.ValueOf(&copied).Elem(), lines)
		out[i] = &copied
	}
	return out
}

// move changes the positions in a value, which is its owner's to change, and
// copies what it shares with others before that is changed.
func (m *mover) move(v reflect.Value, lines int) {
	if at, ok := v.Addr().Interface().(*diag.Position); ok {
		if at.Line > 0 {
			at.Line += lines
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, i := range m.plan(v.Type()) {
			m.move(v.Field(i), lines)
		}
	case reflect.Slice:
		if v.Len() == 0 || len(m.plan(v.Type())) == 0 {
			return
		}
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(copied, v)
		v.Set(copied)
		for i := range v.Len() {
			m.move(v.Index(i), lines)
		}
	case reflect.Pointer:
		if v.IsNil() || len(m.plan(v.Type())) == 0 {
			return
		}
		copied := reflect.New(v.Type().Elem())
		copied.Elem().Set(v.Elem())
		v.Set(copied)
		m.move(copied.Elem(), lines)
	default:
		panic("syntax: there are positions in a " + v.Type().String() + ", which cannot be moved")
	}
}

// plan is where in a type positions are: in which fields of a struct, or, with a
// single step, in what a list or a pointer leads to.
func (m *mover) plan(t reflect.Type) []int {
	plan, ok := m.plans[t]
	if ok {
		return plan
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if leadsToPositions(t.Field(i).Type, make(map[reflect.Type]bool)) {
				plan = append(plan, i)
			}
		}
	case reflect.Slice, reflect.Pointer:
		if leadsToPositions(t.Elem(), make(map[reflect.Type]bool)) {
			plan = []int{0}
		}
	}
	m.plans[t] = plan
	return plan
}

// leadsToPositions reports whether there may be a position in a value of a type.
// seen are types that are being looked into: some are within themselves.
func leadsToPositions(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == reflect.TypeFor[diag.Position]() {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if leadsToPositions(t.Field(i).Type, seen) {
				return true
			}
		}
		return false
	case reflect.Slice, reflect.Pointer, reflect.Map, reflect.Array:
		return leadsToPositions(t.Elem(), seen)
	default:
		return false
	}
}
