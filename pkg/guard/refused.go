package guard

import (
	"net/netip"
	"slices"
)

// Refused lists, sorted and without overlap, the ranges of the addresses that
// Classify refuses: the same decision in the form that Envoy takes.
func Refused(allow, refuse []netip.Prefix, allowPrivate bool) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range Ranges() {
		if !r.Private || !allowPrivate {
			out = append(out, subtract(r.Prefix, allow)...)
		}
	}
	for _, r := range Metadata() {
		if !slices.Contains(allow, r.Prefix) {
			out = append(out, r.Prefix)
		}
	}
	for _, p := range refuse {
		out = append(out, p.Masked())
	}
	return merge(out)
}

// subtract is the part of a prefix that lies in none of the holes.
func subtract(p netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	inside := false
	for _, h := range holes {
		if !h.Overlaps(p) {
			continue
		}
		if h.Bits() <= p.Bits() {
			return nil
		}
		inside = true
	}
	if !inside {
		return []netip.Prefix{p}
	}
	low, high := halves(p)
	return append(subtract(low, holes), subtract(high, holes)...)
}

// halves splits a prefix that has more than one address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	low = netip.PrefixFrom(p.Addr(), bits)
	raw := p.Addr().AsSlice()
	raw[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	upper, _ := netip.AddrFromSlice(raw) // the length is an address's own
	return low, netip.PrefixFrom(upper, bits)
}

// merge sorts prefixes, drops those inside others and joins sibling halves.
func merge(ps []netip.Prefix) []netip.Prefix {
	slices.SortFunc(ps, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range ps {
		if n := len(out); n > 0 && out[n-1].Contains(p.Addr()) && out[n-1].Bits() <= p.Bits() {
			continue
		}
		out = append(out, p)
		for len(out) > 1 {
			a, b := out[len(out)-2], out[len(out)-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 || a.Addr().BitLen() != b.Addr().BitLen() {
				break
			}
			whole := netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked()
			if whole.Addr() != a.Addr() || !whole.Contains(b.Addr()) {
				break
			}
			out = append(out[:len(out)-2], whole)
		}
	}
	return out
}
