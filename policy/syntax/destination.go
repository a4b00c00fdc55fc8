package syntax

import (
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// destination is the table of Destination.
func destination() object[Destination] {
	private := []choice[bool]{
		{word: "Refuse", doc: "a host that resolves to a private, loopback or link-local address is not connected to", v: false},
		{word: "Allow", doc: "such addresses are connected to", v: true},
	}
	tls := []choice[bool]{
		{word: "Passthrough", doc: "the workload's TLS goes through as it is, and there is nothing else", v: false},
		{word: originates, doc: "that too, and for workloads that send plain HTTP to a listener with protocol HTTP the gateway speaks TLS to the host", v: true},
	}
	spec := object[Destination]{
		what:  "the spec of a Destination",
		start: nil, // inline keeps the defaults of the document
		fields: []field[Destination]{
			bind("hosts", hostsDoc, hosts(1), func(d *Destination, h []Host, _ *node) { d.Hosts = h }).must(),
			bind("port", "The port that the gateway connects to.", port("the port"), func(d *Destination, p uint16, _ *node) { d.Port = p }).or(443),
			inline("resolve", "How the gateway finds the server. {} asks DNS for the name that the workload asked for.", resolve(),
				func(d *Destination) *Destination { return d }),
			bind("tls", "What happens to TLS."+choicesDoc(tls), oneOf("tls", tls...), func(d *Destination, yes bool, _ *node) {
				if yes && d.Originate == nil {
					d.Originate = &model.Originate{}
				}
			}).or("Passthrough"),
			bind("originate", "How the gateway checks the host's certificate, with tls: Originate. Without it: by the gateway's certificates.roots and the host's name.",
				originate().value(), func(d *Destination, o model.Originate, _ *node) { d.Originate = &o }),
			bind("exportTo", `The namespaces whose workloads may use this destination: their names, "." for the Destination's own, or "*" for all.`,
				listOf[string]{element: exportName(), least: 1, same: func(s string) string { return s }, twice: diag.Warning}.value(),
				func(d *Destination, names []string, n *node) { d.ExportTo, d.ExportToPos = names, n.pos }).or([]string{"*"}),
			bind("privateAddresses", "Whether the hosts may be at private addresses."+choicesDoc(private), oneOf("privateAddresses", private...),
				func(d *Destination, allow bool, _ *node) { d.AllowPrivate = allow }).or("Refuse"),
		},
		rules: jsonSchema{
			"if":   jsonSchema{"required": []string{"originate"}},
			"then": jsonSchema{"required": []string{"tls"}, "properties": jsonSchema{"tls": jsonSchema{"const": originates}}},
		},
		check: func(r *reader, n *node, _ *Destination) bool {
			if n.has("originate") && n.get("tls").value != originates {
				r.errorf(n.get("originate"), "exclusive-fields", "originate says how the gateway speaks TLS, and it does so only with `tls: %s`", originates)
				return false
			}
			return true
		},
	}
	o := documentOf("Destination", "A Destination registers hosts, and says how the gateway reaches them.", true,
		func(d *Destination) *Meta { return &d.Meta }, spec)
	o.start = func() Destination { return Destination{Port: 443, ExportTo: []string{"*"}} }
	o.check = func(r *reader, _ *node, d *Destination) bool {
		if d.Namespace == "" && slices.Contains(d.ExportTo, ".") {
			r.diags.Errorf(d.ExportToPos, "missing-namespace", `"." means the Destination's own namespace, and it has none: add metadata.namespace, or name the namespaces`)
			return false
		}
		if slices.Contains(d.ExportTo, "*") && len(d.ExportTo) > 1 {
			r.diags.Warnf(d.ExportToPos, "redundant", `"*" means every namespace, so the others beside it mean nothing`)
		}
		return true
	}
	return o
}

// originates is the word for TLS that the gateway speaks.
const originates = "Originate"

// originate is how the gateway speaks TLS.
func originate() object[model.Originate] {
	return object[model.Originate]{
		what: "originate",
		fields: []field[model.Originate]{
			bind("roots", "A PEM file on the gateway with the authorities that the host's certificate must come from. Without it: the gateway's certificates.roots.",
				filePath("the roots' file"), func(o *model.Originate, s string, _ *node) { o.Roots = s }),
			bind("subjectAltNames", "The names of which the host's certificate must have one. Without it: the name that the workload asked for.",
				listOf[hostname.Name]{
					element: hostName(), least: 1,
					same:  func(name hostname.Name) string { return string(name) },
					twice: diag.Warning,
				}.value(),
				func(o *model.Originate, names []hostname.Name, _ *node) {
					for _, name := range names {
						o.SubjectAltNames = append(o.SubjectAltNames, string(name))
					}
					slices.Sort(o.SubjectAltNames)
					o.SubjectAltNames = slices.Compact(o.SubjectAltNames)
				}),
		},
	}
}

// resolve is how the server is found.
func resolve() object[Destination] {
	return object[Destination]{
		what: "resolve",
		fields: []field[Destination]{
			bind("host", "One server for all the hosts: this name is resolved instead of the one that was asked for.", hostName(),
				func(d *Destination, h hostname.Name, _ *node) { d.ResolveHost = h }),
			bind("addresses", "The server's IP addresses: DNS is not asked.",
				listOf[Address]{element: placedAddress(), least: 1, same: func(a Address) string { return a.Addr.String() }, twice: diag.Warning}.value(),
				func(d *Destination, a []Address, _ *node) { d.ResolveAddresses = a }),
		},
		rules: jsonSchema{"not": jsonSchema{"required": []string{"host", "addresses"}}},
		check: func(r *reader, n *node, d *Destination) bool {
			if d.ResolveHost != "" && len(d.ResolveAddresses) > 0 {
				r.errorf(n, "exclusive-fields", "resolve has both a host and addresses: the host would never be asked for, so remove one")
				return false
			}
			return true
		},
	}
}

func placedAddress() value[Address] {
	a := address("an IP address")
	return value[Address]{what: a.what, schema: a.schema, read: func(r *reader, n *node) (Address, bool) {
		addr, ok := a.read(r, n)
		if ok && addr.IsUnspecified() {
			r.errorf(n, "bad-value", "%s is no server's address", addr)
			ok = false
		}
		return Address{Addr: addr, Pos: n.pos}, ok
	}}
}

// exportName is a namespace, "." or "*".
func exportName() value[string] {
	name := namespaceName()
	return value[string]{
		what: `a namespace, "." or "*"`,
		schema: func() jsonSchema {
			return jsonSchema{"anyOf": []any{name.schema(), jsonSchema{"enum": []string{".", "*"}}}}
		},
		read: func(r *reader, n *node) (string, bool) {
			if n.kind == scalar && (n.value == "." || n.value == "*") {
				return n.value, true
			}
			return name.read(r, n)
		},
	}
}
