// Package lab is a pretend internet on loopback, with clients for it: a DNS
// server, web servers on addresses of their own, and apps that go there through
// a workload's proxy or straight through a gateway. `sallyport demo`, the
// end-to-end tests and the benchmarks stand on it.
//
// Everything can be watched from where it matters: which names were asked for,
// how many connections a server was sent before any TLS, which server answered
// under which name, and when an open connection ended. It needs the whole of
// 127.0.0.0/8 to be local, as it is on Linux.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"sallyport/pkg/ca"
)

// Site is a server of the pretend internet and the names that lead to it.
type Site struct {
	// Name is what the server calls itself; the first host if empty.
	Name string
	// Hosts are the names that DNS gives the server's address for. Host names
	// are lower case, without a trailing dot; *.NAME is allowed.
	Hosts []string
	// Certificate are the names in its certificate; Hosts if empty.
	Certificate []string
	// Echo makes it a server that sends back every byte it is sent over TLS,
	// in place of a web server. Benchmarks use it.
	Echo bool
}

// Wikipedia are the sites of the scenarios: five languages' and the portal's,
// each server able to serve them all as the real ones are, and one site of
// somebody else.
func Wikipedia() []Site {
	family := []string{"*.wikipedia.org", "wikipedia.org"}
	sites := make([]Site, 0, 6)
	for _, language := range []string{"en", "de", "es", "fr", "www"} {
		sites = append(sites, Site{Hosts: []string{language + ".wikipedia.org"}, Certificate: family})
	}
	return append(sites, Site{Hosts: []string{"www.google.com"}})
}

// Title is the title of the page that web servers show under a name.
func Title(host string) string {
	titles := map[string]string{
		"en.wikipedia.org":  "Wikipedia, the free encyclopedia",
		"de.wikipedia.org":  "Wikipedia – Die freie Enzyklopädie",
		"es.wikipedia.org":  "Wikipedia, la enciclopedia libre",
		"fr.wikipedia.org":  "Wikipédia, l'encyclopédie libre",
		"www.wikipedia.org": "Wikipedia",
		"www.google.com":    "Google",
	}
	if title, ok := titles[host]; ok {
		return title
	}
	return host
}

// recordTTL is the lifetime of the DNS records that an Internet sets. It is
// short, so that a change is seen soon.
const recordTTL = time.Second

// Internet is a DNS server and the servers it leads to, all at one port on
// addresses of their own.
type Internet struct {
	// DNS answers for the sites. Its records can be changed.
	DNS *DNS
	// Root signed the servers' certificates. It has nothing to do with the
	// authority of workloads and gateways.
	Root *ca.Authority

	origins []*Origin
}

// NewInternet starts the sites at some free port. The root's files go to
// dir/internet.
func NewInternet(dir string, sites ...Site) (*Internet, error) {
	return NewInternetAt(dir, 0, sites...)
}

// NewInternetAt starts the sites at a port, such as the 443 of the real
// internet, which takes root on most machines; 0 is some free one.
func NewInternetAt(dir string, port uint16, sites ...Site) (*Internet, error) {
	if len(sites) == 0 {
		return nil, errors.New("start a pretend internet: there are no sites")
	}
	root, err := ca.Create(filepath.Join(dir, "internet"), ca.Options{CommonName: "pretend internet", Force: true})
	if err != nil {
		return nil, err
	}
	listeners, err := listenAtOnePort(len(sites), port)
	if err != nil {
		return nil, fmt.Errorf("start a pretend internet: %w", err)
	}
	n := &Internet{Root: root}
	for i, site := range sites {
		origin, err := newOrigin(listeners[i], root, site)
		if err != nil {
			for _, rest := range listeners[i:] {
				err = errors.Join(err, rest.Close())
			}
			return nil, errors.Join(err, n.Close())
		}
		n.origins = append(n.origins, origin)
	}
	if n.DNS, err = NewDNS(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	for i, site := range sites {
		for _, host := range site.Hosts {
			n.DNS.Set(host, recordTTL, n.origins[i].Address().Addr())
		}
	}
	return n, nil
}

// Port is the one port that all sites are at.
func (n *Internet) Port() uint16 { return n.origins[0].Address().Port() }

// Origins are the servers, in the order of their sites.
func (n *Internet) Origins() []*Origin { return n.origins }

// Origin returns the server of that name, or the one that the host first led
// to, or nil.
func (n *Internet) Origin(name string) *Origin {
	for _, origin := range n.origins {
		if origin.Name() == name {
			return origin
		}
	}
	for _, origin := range n.origins {
		for _, host := range origin.site.Hosts {
			if covers(host, name) {
				return origin
			}
		}
	}
	return nil
}

// covers reports whether a host of a site means the name.
func covers(host, name string) bool {
	suffix, wild := strings.CutPrefix(host, "*")
	return host == name || wild && len(name) > len(suffix) && strings.HasSuffix(name, suffix)
}

// Addresses are those of all servers: what a gateway must be allowed to reach,
// as loopback is otherwise refused.
func (n *Internet) Addresses() []netip.Addr {
	addresses := make([]netip.Addr, len(n.origins))
	for i, origin := range n.origins {
		addresses[i] = origin.Address().Addr()
	}
	return addresses
}

// Accepted is how many connections all servers were sent.
func (n *Internet) Accepted() int64 {
	var sum int64
	for _, origin := range n.origins {
		sum += origin.Accepted()
	}
	return sum
}

// Close ends everything and waits for it.
func (n *Internet) Close() error {
	var errs []error
	if n.DNS != nil {
		errs = append(errs, n.DNS.Close())
	}
	for _, origin := range n.origins {
		errs = append(errs, origin.Close())
	}
	return errors.Join(errs...)
}
