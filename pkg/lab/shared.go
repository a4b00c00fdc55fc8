package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"

	"sallyport/pkg/ca"
)

// NewSharedInternet starts a pretend internet for other machines: a DNS server at
// dns, and at web one server for all sites, as behind a large proxy, to whose
// address DNS leads. The root's files go to dir/internet.
func NewSharedInternet(dir string, dns, web netip.AddrPort, sites ...Site) (_ *Internet, err error) {
	var all Site
	for _, site := range sites {
		all.Hosts = append(all.Hosts, site.Hosts...)
		all.Certificate = append(all.Certificate, site.Certificate...)
		if len(site.Certificate) == 0 {
			all.Certificate = append(all.Certificate, site.Hosts...)
		}
	}
	if len(all.Hosts) == 0 {
		return nil, errors.New("start a pretend internet: there are no sites")
	}
	all.Name = "internet"
	n := &Internet{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a pretend internet: %w", err), n.Close())
		}
	}()
	if n.Root, err = ca.Create(filepath.Join(dir, "internet"), ca.Options{CommonName: "pretend internet", Force: true}); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", web.String())
	if err != nil {
		return nil, err
	}
	origin, err := newOrigin(listener, n.Root, all)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	n.origins = []*Origin{origin}
	if n.DNS, err = NewDNSAt(dns); err != nil {
		return nil, err
	}
	for _, host := range all.Hosts {
		n.DNS.Set(host, recordTTL, origin.Address().Addr())
	}
	return n, nil
}
