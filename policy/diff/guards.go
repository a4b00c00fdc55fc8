package diff

import (
	"net/netip"
	"slices"

	"sallyport/pkg/guard"
	"sallyport/policy/model"
)

// guards compares which addresses a host must not lead to.
func guards(before, after *model.Gateway) []Setting {
	var out []Setting
	for _, private := range []bool{false, true} {
		b := guard.Refused(before.Addresses.Allow, before.Addresses.Refuse, private)
		a := guard.Refused(after.Addresses.Allow, after.Addresses.Refuse, private)
		opened, closed := subtract(b, a), subtract(a, b)
		what := "addresses that hosts may lead to"
		if private {
			what += " with privateAddresses: Allow"
		}
		for _, s := range []Setting{
			{What: what, After: ranges(opened), Why: "these are dialled now"},
			{What: what, Before: ranges(closed), Effect: Narrowed, Why: "these are no longer dialled"},
		} {
			known := slices.ContainsFunc(out, func(o Setting) bool { return o.Before == s.Before && o.After == s.After })
			if s.Before+s.After != "" && !known {
				out = append(out, s)
			}
		}
	}
	return out
}

func ranges(list []netip.Prefix) string { return join(list, netip.Prefix.String) }

// subtract is what of some ranges lies in none of the others.
func subtract(from, what []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range from {
		out = append(out, without(p, what)...)
	}
	return out
}

func without(p netip.Prefix, what []netip.Prefix) []netip.Prefix {
	inside := false
	for _, w := range what {
		switch {
		case !w.Overlaps(p):
		case w.Bits() <= p.Bits():
			return nil
		default:
			inside = true
		}
	}
	if !inside {
		return []netip.Prefix{p}
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	raw := p.Masked().Addr().AsSlice()
	raw[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	middle, _ := netip.AddrFromSlice(raw) // as long as an address is
	return append(without(low, what), without(netip.PrefixFrom(middle, p.Bits()+1), what)...)
}
