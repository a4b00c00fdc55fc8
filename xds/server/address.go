package server

import (
	"fmt"
	"net"
	"net/netip"
)

// CheckListenAddress refuses addresses that other machines can reach, unless
// those who connect are authenticated, or the operator insists: otherwise whoever
// connects is given the whole policy of any group they name, and can watch every
// change.
func CheckListenAddress(addr string, allow bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on, HOST:PORT: %w", addr, err)
	}
	if allow {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s: without a certificate anyone who can connect could read the policy "+
		"of every gateway; listen on a loopback address such as 127.0.0.1, or allow it explicitly if the network protects the port", addr)
}
