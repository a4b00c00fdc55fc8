package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
)

// tries is how often a search for a port that is free in several places is
// begun again.
const tries = 50

// listenUDPAndTCP listens at one port of 127.0.0.1 for both.
func listenUDPAndTCP() (net.PacketConn, net.Listener, error) {
	var errs []error
	for range tries {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream, nil
		}
		errs = append(errs, err, stream.Close())
	}
	return nil, nil, fmt.Errorf("no port is free for both UDP and TCP: %w", errors.Join(errs...))
}

// firstAddress is that of the first server; the others follow it. 127.0.0.x
// stays free for proxies and gateways.
const firstAddress = "127.0.1.1"

// listenAtOnePort listens at n addresses, at the same port of each: any port if
// it is 0. Where somebody else has that port, the next 256 addresses are tried.
func listenAtOnePort(n int, port uint16) ([]net.Listener, error) {
	var errs []error
	first := netip.MustParseAddr(firstAddress)
	for range tries {
		listeners, err := listenAll(n, first, port)
		if err == nil {
			return listeners, nil
		}
		errs = append(errs, err)
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		if port != 0 {
			if errors.Is(err, fs.ErrPermission) {
				return nil, fmt.Errorf("%w: ports below 1024 need root, or sysctl -w net.ipv4.ip_unprivileged_port_start=%d", err, port)
			}
			bytes := first.As4()
			bytes[2]++
			first = netip.AddrFrom4(bytes)
		}
	}
	return nil, fmt.Errorf("no port is free on %d addresses from %s on: %w", n, firstAddress, errors.Join(errs...))
}

// listenAll is one try: what it has when it fails, it returns too.
func listenAll(n int, address netip.Addr, port uint16) ([]net.Listener, error) {
	var listeners []net.Listener
	for range n {
		l, err := net.Listen("tcp", netip.AddrPortFrom(address, port).String())
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
		port = l.Addr().(*net.TCPAddr).AddrPort().Port()
		address = address.Next()
	}
	return listeners, nil
}
