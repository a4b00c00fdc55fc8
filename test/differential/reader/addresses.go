package reader

import (
	"fmt"
	"net/netip"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// makePrefix is a range of addresses from its parts in Envoy's messages. Envoy
// takes 0 for an absent length, and cuts off host bits.
func makePrefix(address string, length uint32) (netip.Prefix, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, err
	}
	p := netip.PrefixFrom(addr, int(length))
	if !p.IsValid() || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%s/%d is not a range of addresses", address, length)
	}
	return p.Masked(), nil
}

func coreRange(r *core.CidrRange) (netip.Prefix, error) {
	if err := only(r, "address_prefix", "prefix_len"); err != nil {
		return netip.Prefix{}, err
	}
	return makePrefix(r.GetAddressPrefix(), r.GetPrefixLen().GetValue())
}

// socketAddress reads an IP address and a port.
func socketAddress(a *core.Address) (netip.AddrPort, error) {
	if err := only(a, "socket_address"); err != nil {
		return netip.AddrPort{}, err
	}
	s := a.GetSocketAddress()
	if err := only(s, "address", "port_value"); err != nil {
		return netip.AddrPort{}, err
	}
	addr, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}, err
	}
	if s.GetPortValue() == 0 || s.GetPortValue() > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%d is not a port", s.GetPortValue())
	}
	return netip.AddrPortFrom(addr, uint16(s.GetPortValue())), nil
}

func contained(a netip.Addr, ranges []netip.Prefix) bool {
	for _, r := range ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}
