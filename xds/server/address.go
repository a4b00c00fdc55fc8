package server

import (
	"fmt"
	"net"
	"net/netip"
)

// CheckListenAddress refuses addresses that other machines can reach, unless
// the operator insists: there is no authentication yet, neither for xDS nor for
// the status, so whoever connects is given the whole policy of any group they
// name, and can watch every change.
func CheckListenAddress(addr string, allowInsecure bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on, HOST:PORT: %w", addr, err)
	}
	if allowInsecure {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s: there is no authentication yet, so anyone who can connect could read the policy "+
		"of every gateway; listen on a loopback address such as 127.0.0.1, or allow it explicitly if the network protects the port", addr)
}
