package translate

import (
	"strings"

	"sallyport/policy/model"
)

// Source is what in a gateway's policy a resource was made from.
type Source struct {
	// Listener is the listener of the EgressGateway document, if it is one.
	Listener string
	// Entries are those that it is about, in the gateway's order; nil if it comes
	// from the EgressGateway document alone.
	Entries []*model.Entry
}

// SourceOf says where the resource with a name comes from, of whatever type it
// is: a listener and the cluster that leads to it have the same.
func SourceOf(g *model.Gateway, resource string) Source {
	kind, _, _ := strings.Cut(resource, "/")
	c := &common{builder: &builder{}, gateway: g}
	var is func(e *model.Entry) bool
	switch kind {
	case "entry":
		for _, l := range g.Listeners {
			if entryName(l) == resource {
				return Source{Listener: l.Name}
			}
		}
		return Source{}
	case "policy":
		is = func(e *model.Entry) bool { return policyName(bucketOf(e.Pattern)) == resource }
	case originatedName:
		is = func(e *model.Entry) bool {
			return e.Dial.Originate != nil && originatedStages().prefix+bucketOf(e.Pattern) == resource
		}
	case "static":
		is = func(e *model.Entry) bool { return len(e.Dial.Addresses) > 0 && staticName(e.Dial) == resource }
	case "originate":
		is = func(e *model.Entry) bool {
			return e.Dial.Originate != nil && c.originateName(e.Dial.Originate) == resource
		}
	case "roots":
		// A path that comes from the EgressGateway document is nobody else's fault.
		is = func(e *model.Entry) bool {
			return e.Dial.Originate != nil && e.Dial.Originate.Roots != "" && c.rootsSecretName(e.Dial.Originate) == resource
		}
	default: // route, gateway, trust, …
		return Source{}
	}
	var out Source
	for _, e := range g.Entries {
		if e.Registered && is(e) {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}
