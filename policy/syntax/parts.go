package syntax

import (
	"bytes"
	"path"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// decodedPart is what a part of a file says.
type decodedPart struct {
	part
	elements int
	docs     *Documents // nil if there are none
	diags    diag.List
}

// decodeParts decodes a file part by part, of which those that stood in the file
// before are known. It is nil if the file must be taken as a whole: then something
// is wrong with its text, or it is not YAML, or not policy.
func (l *language) decodeParts(f source.File, old []decodedPart, decodes *int) (out *decoded) {
	if isKustomization(f.Path) || path.Ext(f.Path) == ".json" {
		return nil
	}
	defer func() {
		if recover() != nil {
			out = nil // decodeWhole says so
		}
	}()
	parts := splitDocuments(f.Data)
	known := alike(old, parts)
	out = &decoded{parts: make([]decodedPart, len(parts))}
	moved := newMover() // of this call, so that nothing is shared
	elements := 0
	for i, p := range parts {
		was, d := known(i), &out.parts[i]
		switch {
		case was != nil && was.line == p.line:
			*d = *was
		case was != nil && len(was.diags) == 0:
			*d = *was
			if was.docs != nil {
				d.docs = moved.documents(was.docs, p.line-was.line)
			}
		default:
			if !l.decodePart(f.Path, p, d) {
				return nil
			}
			*decodes++
		}
		d.part = p // and not the data of the file before
		if elements += d.elements; elements > maxElements {
			return nil
		}
		out.diags = append(out.diags, d.diags...)
	}
	out.docs = joined(out.parts)
	out.diags = shown(out.diags)
	return out
}

// alike finds for each of the parts one of the old that has the same text, or
// nil. The first part of a file is a case of its own: a byte order mark may stand
// there.
func alike(old []decodedPart, parts []part) func(i int) *decodedPart {
	most := min(len(old), len(parts))
	start, end := 0, 0
	for start < most && bytes.Equal(old[start].data, parts[start].data) {
		start++
	}
	for end < most-max(start, 1) && bytes.Equal(old[len(old)-1-end].data, parts[len(parts)-1-end].data) {
		end++
	}
	between := make(map[string]*decodedPart)
	for i := max(start, 1); i < len(old)-end; i++ {
		between[string(old[i].data)] = &old[i]
	}
	return func(i int) *decodedPart {
		switch {
		case i < start:
			return &old[i]
		case i >= len(parts)-end:
			return &old[i-len(parts)+len(old)]
		case i > 0:
			return between[string(parts[i].data)]
		default:
			return nil
		}
	}
}

// decodePart decodes a part. It is not ok if something is wrong with its text,
// which is said once for a whole file.
func (l *language) decodePart(file string, p part, into *decodedPart) (ok bool) {
	elements, diags := countElements(file, p.data)
	if len(diags) > 0 {
		return false
	}
	y := yamlPart{file: file, lines: p.line - 1}
	nodes := y.parse(p.data)
	r := &reader{meanings: l.meanings, diags: y.diags}
	var docs Documents
	l.documents(r, nodes, &docs)
	*into = decodedPart{elements: elements, diags: r.diags}
	if len(nodes) > 0 {
		into.docs = &docs
	}
	return true
}

// joined are the documents of all parts.
func joined(parts []decodedPart) Documents {
	all := make([]*Documents, 0, len(parts))
	for i := range parts {
		if parts[i].docs != nil {
			all = append(all, parts[i].docs)
		}
	}
	return join(all)
}

// join is one list of each kind.
func join(all []*Documents) Documents {
	return Documents{
		Policies:     joinOf(all, func(d *Documents) []*EgressPolicy { return d.Policies }),
		Destinations: joinOf(all, func(d *Documents) []*Destination { return d.Destinations }),
		Gateways:     joinOf(all, func(d *Documents) []*EgressGateway { return d.Gateways }),
		Tests:        joinOf(all, func(d *Documents) []*PolicyTest { return d.Tests }),
		Delegations:  joinOf(all, func(d *Documents) []*Delegation { return d.Delegations }),
		Istio: Istio{
			AuthorizationPolicies: joinOf(all, func(d *Documents) []*AuthorizationPolicy { return d.Istio.AuthorizationPolicies }),
			ServiceEntries:        joinOf(all, func(d *Documents) []*ServiceEntry { return d.Istio.ServiceEntries }),
			Gateways:              joinOf(all, func(d *Documents) []*IstioGateway { return d.Istio.Gateways }),
			VirtualServices:       joinOf(all, func(d *Documents) []*VirtualService { return d.Istio.VirtualServices }),
			DestinationRules:      joinOf(all, func(d *Documents) []*DestinationRule { return d.Istio.DestinationRules }),
		},
	}
}

func joinOf[T any](all []*Documents, list func(*Documents) []*T) []*T {
	n := 0
	for _, d := range all {
		n += len(list(d))
	}
	if n == 0 {
		return nil
	}
	out := make([]*T, 0, n)
	for _, d := range all {
		out = append(out, list(d)...)
	}
	return out
}
