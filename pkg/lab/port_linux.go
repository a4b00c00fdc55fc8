package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Port is a TCP port of 127.0.0.1 that is reserved for a process that cannot be
// given a listening socket, as Envoy cannot.
type Port struct {
	fd      int
	address netip.AddrPort
}

// ReservePort finds a free port and keeps it: nobody else gets it before Close,
// except a process of the same user that listens there with SO_REUSEPORT, as
// Envoy does unless it is told otherwise. (A socket that is bound but does not
// listen holds the port and takes no connection.)
func ReservePort() (*Port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	p := &Port{fd: fd}
	if err := p.bind(); err != nil {
		return nil, errors.Join(fmt.Errorf("reserve a port: %w", err), unix.Close(fd))
	}
	return p, nil
}

func (p *Port) bind() error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if err := unix.Bind(p.fd, &unix.SockaddrInet4{Addr: loopback.As4()}); err != nil {
		return err
	}
	name, err := unix.Getsockname(p.fd)
	if err != nil {
		return err
	}
	bound, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("bound to a %T", name)
	}
	p.address = netip.AddrPortFrom(loopback, uint16(bound.Port))
	return nil
}

// Address is the reserved address.
func (p *Port) Address() netip.AddrPort { return p.address }

// Close gives the port back.
func (p *Port) Close() error { return unix.Close(p.fd) }
