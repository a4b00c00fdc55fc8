package syntax

import (
	"sallyport/pkg/diag"
)

// placed are the documents of a file, each in its namespace.
type placed struct {
	in    setting
	docs  Documents
	diags diag.List
	// copies are documents that were given a namespace, by what was decoded.
	copies map[any]any
}

// setting is what the namespaces of documents depend on, beside themselves.
type setting struct {
	// kustomized says that the folder has a kustomization, and known that it could
	// be read; namespace is what it says.
	kustomized, known bool
	namespace         string
	// otherwise is the namespace where nothing says one.
	otherwise string
}

// place puts the documents of a file where they belong. What is as before, if
// anything is known of that, stays.
func (f *folders) place(path string, k, before *known) *known {
	in := setting{otherwise: f.namespace}
	if folder := f.of(path); folder != nil {
		in.kustomized = true
		if folder.kustomization != nil {
			in.known, in.namespace = true, folder.kustomization.namespace
		}
	}
	if k.placed != nil && k.placed.in == in {
		return k
	}
	p := &placer{placed: &placed{in: in}}
	if before != nil && before.placed.in == in {
		p.before = before.placed.copies
	}
	p.add(&k.decoded.docs)
	return &known{digest: k.digest, decoded: k.decoded, placed: p.placed}
}

// placer places the documents of one file.
type placer struct {
	*placed
	before map[any]any
}

// add places documents. They are shared with later calls of Decode, and not
// changed.
func (p *placer) add(from *Documents) {
	natives(p, from.Policies, "EgressPolicy", func(p *EgressPolicy) *Meta { return &p.Meta })
	natives(p, from.Destinations, "Destination", func(d *Destination) *Meta { return &d.Meta })
	natives(p, from.Tests, "PolicyTest", func(t *PolicyTest) *Meta { return &t.Meta })
	istio := from.Istio
	p.docs = *from
	p.docs.Istio = Istio{
		AuthorizationPolicies: istios(p, istio.AuthorizationPolicies, "AuthorizationPolicy", func(p *AuthorizationPolicy) *Meta { return &p.Meta }),
		ServiceEntries:        istios(p, istio.ServiceEntries, "ServiceEntry", func(e *ServiceEntry) *Meta { return &e.Meta }),
		Gateways:              istios(p, istio.Gateways, "Gateway", func(g *IstioGateway) *Meta { return &g.Meta }),
		VirtualServices:       istios(p, istio.VirtualServices, "VirtualService", func(v *VirtualService) *Meta { return &v.Meta }),
		DestinationRules:      istios(p, istio.DestinationRules, "DestinationRule", func(d *DestinationRule) *Meta { return &d.Meta }),
	}
}

// natives checks documents of our own kinds that may have a namespace.
func natives[T any](p *placer, docs []*T, kind string, meta func(*T) *Meta) {
	if p.in.namespace == "" {
		return
	}
	for _, doc := range docs {
		p.native(kind, meta(doc))
	}
}

// istios are documents of Istio's kinds, each in its namespace.
func istios[T any](p *placer, docs []*T, kind string, meta func(*T) *Meta) []*T {
	var out []*T
	for _, doc := range docs {
		namespace, ok := p.istio(kind, meta(doc))
		if !ok {
			continue
		}
		if meta(doc).Namespace != namespace {
			doc = inNamespace(p, doc, namespace, meta)
		}
		out = append(out, doc)
	}
	return out
}

// inNamespace is a copy of a document in a namespace, the one of the last time if
// there was one.
func inNamespace[T any](p *placer, doc *T, namespace string, meta func(*T) *Meta) *T {
	own, ok := p.before[doc].(*T)
	if !ok {
		copied := *doc
		own = &copied
		meta(own).Namespace = namespace
	}
	if p.copies == nil {
		p.copies = make(map[any]any)
	}
	p.copies[doc] = own
	return own
}
