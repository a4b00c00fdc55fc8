package migrate

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

func file(name, text string) source.File {
	return source.File{Path: name, Data: []byte(text), Digest: sha256.Sum256([]byte(text))}
}

// yaml writes the gateway.
func (g Gateway) yaml(defaultAction model.Verdict) string {
	outbound := "RegistryOnly"
	if g.AllowAny {
		outbound = "AllowAny"
	}
	return layout.Remark("Made up by `sallyport import`: see to the listeners, and say in `nodes` who may fetch this.") +
		layout.Header("EgressGateway", "", g.Name) +
		"  trustDomain: " + layout.Scalar(g.TrustDomain) + "\n" +
		"  listeners:\n" +
		"  - {name: mtls, port: 15443, protocol: MutualTLS}\n" +
		"  - {name: http, port: 15080, protocol: HTTP}\n" +
		"  outbound: " + outbound + "\n" +
		"  defaultAction: " + defaultAction.String() + "\n"
}

// yaml writes the Destination.
func (d *nativeDestination) yaml() string {
	var b strings.Builder
	b.WriteString(layout.Remark(d.from) + layout.Header("Destination", d.namespace, d.name))
	b.WriteString("  hosts:" + list("  ", patterns(d.hosts)))
	dial := d.at.Dial
	if dial.Port != 443 {
		fmt.Fprintf(&b, "  port: %d\n", dial.Port)
	}
	switch {
	case len(dial.Addresses) > 0:
		var addresses []string
		for _, a := range dial.Addresses {
			addresses = append(addresses, strconv.Quote(a.String()))
		}
		b.WriteString("  resolve:\n    addresses:" + list("    ", addresses))
	case dial.Host != "":
		b.WriteString("  resolve:\n    host: " + layout.Scalar(dial.Host) + "\n")
	}
	if o := dial.Originate; o != nil {
		b.WriteString("  tls: Originate\n")
		if o.Roots != "" || len(o.SubjectAltNames) > 0 {
			b.WriteString("  originate:\n")
		}
		if o.Roots != "" {
			b.WriteString("    roots: " + layout.Scalar(o.Roots) + "\n")
		}
		if len(o.SubjectAltNames) > 0 {
			b.WriteString("    subjectAltNames:" + list("    ", each(o.SubjectAltNames, layout.Scalar)))
		}
	}
	if to := d.at.ExportTo; to != nil {
		namespaces := each(to, func(ns string) string {
			if ns == d.namespace {
				return `"."`
			}
			return layout.Scalar(ns)
		})
		slices.Sort(namespaces)
		b.WriteString("  exportTo:" + list("  ", namespaces))
	}
	if dial.AllowPrivate {
		b.WriteString("  privateAddresses: Allow\n")
	}
	return b.String()
}

// yaml writes the EgressPolicy.
func (p nativePolicy) yaml() string {
	var b strings.Builder
	b.WriteString(layout.Remark(p.from) + layout.Header("EgressPolicy", "", p.name))
	if p.audit {
		b.WriteString("  mode: Audit\n")
	}
	b.WriteString("  rules:\n")
	for _, r := range p.rules {
		b.WriteString("  " + layout.Remark(r.pos.String()))
		b.WriteString("  - action: " + r.action.String() + "\n")
		if len(r.peers) > 0 {
			b.WriteString("    from:\n")
			for _, peer := range r.peers {
				b.WriteString("    - " + peer + "\n")
			}
		}
		b.WriteString("    to:\n")
		for _, t := range r.to {
			b.WriteString("    - hosts:" + list("      ", patterns(t.Hosts)))
			if len(t.Except) > 0 {
				b.WriteString("      except:" + list("      ", patterns(t.Except)))
			}
		}
	}
	return b.String()
}

// list writes the elements of a list behind its field, on the same line if they
// are few.
func list(indent string, elements []string) string {
	if line := strings.Join(elements, ", "); len(line) < 80 {
		return " [" + line + "]\n"
	}
	out := "\n"
	for _, e := range elements {
		out += indent + "- " + e + "\n"
	}
	return out
}

func patterns(list []hostname.Pattern) []string {
	sorted := slices.SortedFunc(slices.Values(list), hostname.Compare)
	return each(sorted, func(p hostname.Pattern) string { return layout.Scalar(p.String()) })
}

func each[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return out
}
