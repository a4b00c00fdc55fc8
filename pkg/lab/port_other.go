//go:build !linux

package lab

import (
	"errors"
	"net/netip"
)

// Port is a reserved TCP port; there are none but on Linux.
type Port struct{}

// ReservePort fails: the lab needs Linux.
func ReservePort() (*Port, error) {
	return nil, errors.New("reserve a port: the lab needs Linux, for 127.0.0.0/8 and SO_REUSEPORT as they are there")
}

// Address is the reserved address.
func (p *Port) Address() netip.AddrPort { return netip.AddrPort{} }

// Close gives the port back.
func (p *Port) Close() error { return nil }
