package lab

import (
	"errors"
	"fmt"
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

// listenAtOnePort listens at n addresses from firstAddress on, at the same
// port of each.
func listenAtOnePort(n int) ([]net.Listener, error) {
	var errs []error
	for range tries {
		listeners, err := listenAll(n)
		if err == nil {
			return listeners, nil
		}
		errs = append(errs, err)
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
	}
	return nil, fmt.Errorf("no port is free on %d addresses from %s on: %w", n, firstAddress, errors.Join(errs...))
}

// listenAll is one try: what it has when it fails, it returns too.
func listenAll(n int) ([]net.Listener, error) {
	var listeners []net.Listener
	address, port := netip.MustParseAddr(firstAddress), uint16(0)
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
