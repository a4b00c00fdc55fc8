// Package guard says which addresses a gateway refuses to dial whatever name
// led there: loopback, private networks, link-local, cloud metadata and the
// like. A host that a policy allows may resolve to any of them, by accident or
// because its owner wants into the network (DNS rebinding). The compiler checks
// static addresses against this table, and the xDS translation prints it.
package guard

import (
	"net/netip"
	"slices"
)

// Classify reports whether a gateway refuses to dial the address, and by which
// range. In this order; the first that applies is the answer:
//
//  1. a range of refuse refuses;
//  2. cloud metadata is refused, unless allow has that single address (a /32
//     or /128): a wider range never opens it;
//  3. a range of allow lets it through;
//  4. a built-in range refuses, except that allowPrivate lifts the Private ones.
//
// An IPv4-mapped IPv6 address is taken as written: no IPv4 range of allow
// opens it. What is not an address at all is refused.
func Classify(addr netip.Addr, allow, refuse []netip.Prefix, allowPrivate bool) (refusedBy Range, refused bool) {
	if !addr.IsValid() {
		return Range{Name: "not an address"}, true
	}
	addr = addr.WithZone("") // no prefix contains an address with a zone
	if i := slices.IndexFunc(refuse, func(p netip.Prefix) bool { return p.Contains(addr) }); i >= 0 {
		return Range{Prefix: refuse[i], Name: "refused range", Source: "the gateway's own list"}, true
	}
	for _, r := range Metadata() {
		if r.Prefix.Contains(addr) && !slices.Contains(allow, r.Prefix) {
			return r, true
		}
	}
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return Range{}, false
	}
	for _, r := range Ranges() {
		if r.Prefix.Contains(addr) && (!r.Private || !allowPrivate) {
			return r, true
		}
	}
	return Range{}, false
}
