package migrate

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/istio"
	"sallyport/policy/syntax"
)

// nativeDestination is a Destination to be written: hosts that are registered
// by one document, and reached alike.
type nativeDestination struct {
	namespace, name string
	from            string
	hosts           []hostname.Pattern
	at              istio.Registration // the first of them
}

// destinations writes what the networking documents register anew.
func (m *migration) destinations() {
	if why := m.cannotRegister(); why != "" {
		for _, d := range m.networking() {
			m.keep(*d.meta, m.item(d.kind, d.meta), why)
		}
		return
	}
	of := make(map[string][]*nativeDestination) // by the document that registers
	for _, r := range m.registry {
		if r.ExportTo.IsEmpty() {
			continue // registered for nobody: refused either way
		}
		i := slices.IndexFunc(of[r.By], func(d *nativeDestination) bool {
			return slices.Equal(d.at.ExportTo, r.ExportTo) && (d.at.ExportTo == nil) == (r.ExportTo == nil) && istio.SameDial(d.at.Dial, r.Dial)
		})
		if i < 0 {
			i = len(of[r.By])
			_, fullName, _ := strings.Cut(r.By, " ")
			namespace, name, _ := strings.Cut(fullName, "/")
			made := &nativeDestination{
				namespace: namespace, at: r, from: fmt.Sprintf("From %s, %s", r.By, r.At),
				name: m.names.free("Destination "+namespace, name, ""),
			}
			of[r.By] = append(of[r.By], made)
			m.out.destinations = append(m.out.destinations, made)
		}
		of[r.By][i].hosts = append(of[r.By][i].hosts, r.Pattern)
	}
	docs := m.networking()
	into := concerned(docs, m.out.destinations)
	for i, d := range docs {
		item := m.item(d.kind, d.meta)
		for _, n := range into[i] {
			made := m.out.destinations[n]
			item.Into = append(item.Into, "Destination "+made.namespace+"/"+made.name)
		}
		if len(item.Into) == 0 {
			item.Why, item.Todo = m.whyNoDestination(d), "nothing"
			m.report.LeftOut = append(m.report.LeftOut, item)
			continue
		}
		m.report.Converted = append(m.report.Converted, item)
	}
}

// cannotRegister says what our language has no words for.
func (m *migration) cannotRegister() string {
	i := slices.IndexFunc(m.registry, func(r istio.Registration) bool { return r.ExportTo.IsEmpty() })
	if i >= 0 && m.gateway.AllowAny {
		return fmt.Sprintf("%s is registered for no namespace, at %s, so that nobody reaches it although outbound is AllowAny: a Destination is always for somebody",
			m.registry[i].Pattern, m.registry[i].At)
	}
	return ""
}

// whyNoDestination says why nothing was made of a document.
func (m *migration) whyNoDestination(d networkingDocument) string {
	service := istio.Place(m.gateway).Service
	if slices.ContainsFunc(d.hosts, func(h syntax.Host) bool { return h.Pattern.String() == service }) {
		return "it is about the way from the workloads to the gateway, which is mutual TLS here anyhow"
	}
	return "no host that the gateway can reach is concerned"
}

// networkingDocument is a document that says how hosts are reached.
type networkingDocument struct {
	kind  string
	meta  *syntax.Meta
	hosts []syntax.Host
}

// concerned finds, for each document, the Destinations that have a host in common
// with it, by their places.
func concerned(docs []networkingDocument, made []*nativeDestination) [][]int {
	var ofDocs, ofMade hostindex.Index[int]
	for i, d := range docs {
		for _, h := range d.hosts {
			ofDocs.Add(h.Pattern, i)
		}
	}
	for n, d := range made {
		for _, h := range d.hosts {
			ofMade.Add(h, n)
		}
	}
	out := make([][]int, len(docs))
	for i, d := range docs {
		for _, h := range d.hosts {
			out[i] = slices.AppendSeq(out[i], ofMade.Covering(h.Pattern))
		}
	}
	for n, d := range made {
		for _, h := range d.hosts {
			for i := range ofDocs.Covering(h) {
				out[i] = append(out[i], n)
			}
		}
	}
	for i := range out {
		slices.Sort(out[i])
		out[i] = slices.Compact(out[i])
	}
	return out
}

func (m *migration) networking() []networkingDocument {
	var out []networkingDocument
	docs := &m.docs.Istio
	for _, d := range docs.ServiceEntries {
		out = append(out, networkingDocument{"ServiceEntry", &d.Meta, d.Hosts})
	}
	for _, d := range docs.Gateways {
		doc := networkingDocument{kind: "Gateway", meta: &d.Meta}
		for _, s := range d.Servers {
			for _, h := range s.Hosts {
				doc.hosts = append(doc.hosts, syntax.Host{Pattern: h.Pattern})
			}
		}
		out = append(out, doc)
	}
	for _, d := range docs.VirtualServices {
		out = append(out, networkingDocument{"VirtualService", &d.Meta, d.Hosts})
	}
	for _, d := range docs.DestinationRules {
		out = append(out, networkingDocument{"DestinationRule", &d.Meta, []syntax.Host{d.Host}})
	}
	return out
}
