package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNS is a DNS server, UDP and TCP at one port, on loopback unless it is told
// otherwise. It answers for what
// Set told it, everything else does not exist, and it remembers every query.
type DNS struct {
	address netip.AddrPort
	servers []*dns.Server
	serving sync.WaitGroup

	mu      sync.Mutex
	records map[string]record
	queries []Query
}

type record struct {
	ttl       time.Duration
	addresses []netip.Addr
}

// Query is one question that was asked.
type Query struct {
	Name string // lower case, without the trailing dot
	Type string // "A", "AAAA", …
	Time time.Time
}

// NewDNS starts a server at a free port of 127.0.0.1.
func NewDNS() (*DNS, error) {
	packets, stream, err := listenUDPAndTCP()
	if err != nil {
		return nil, fmt.Errorf("start a DNS server: %w", err)
	}
	return serveDNS(packets, stream)
}

// NewDNSAt starts a server at an address, such as port 53 of a container's own.
func NewDNSAt(at netip.AddrPort) (*DNS, error) {
	stream, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("start a DNS server: %w", err)
	}
	packets, err := net.ListenPacket("udp", stream.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a DNS server: %w", err), stream.Close())
	}
	return serveDNS(packets, stream)
}

// serveDNS answers at both.
func serveDNS(packets net.PacketConn, stream net.Listener) (*DNS, error) {
	d := &DNS{
		address: stream.Addr().(*net.TCPAddr).AddrPort(),
		records: map[string]record{},
	}
	d.servers = []*dns.Server{
		{PacketConn: packets, Handler: dns.HandlerFunc(d.answer)},
		{Listener: stream, Handler: dns.HandlerFunc(d.answer)},
	}
	for _, server := range d.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		failed := make(chan error, 1)
		d.serving.Go(func() { failed <- server.ActivateAndServe() })
		select {
		case <-started: // before that, it could not be shut down
		case err := <-failed:
			return nil, errors.Join(fmt.Errorf("start a DNS server: %w", err), packets.Close(), stream.Close())
		}
	}
	return d, nil
}

// Address is where the server listens, for UDP and TCP.
func (d *DNS) Address() netip.AddrPort { return d.address }

// Set replaces the addresses of a name; *.NAME covers every name below NAME
// that has no addresses of its own. A name without addresses exists and has
// none. The answers live for ttl, in whole seconds.
func (d *DNS) Set(name string, ttl time.Duration, addresses ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[canonical(name)] = record{ttl, slices.Clone(addresses)}
}

// Remove makes a name not exist.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, canonical(name))
}

// Queries returns the queries for a name, or all of them for "", in the order
// in which they were asked.
func (d *DNS) Queries(name string) []Query {
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "" {
		return slices.Clone(d.queries)
	}
	name = canonical(name)
	var found []Query
	for _, q := range d.queries {
		if q.Name == name {
			found = append(found, q)
		}
	}
	return found
}

// Forget drops the queries so far: long benchmarks would pile them up.
func (d *DNS) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queries = nil
}

// Close stops the server.
func (d *DNS) Close() error {
	var errs []error
	for _, server := range d.servers {
		errs = append(errs, server.Shutdown())
	}
	d.serving.Wait()
	return errors.Join(errs...)
}

func canonical(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// answer answers one message, which has one question in practice.
func (d *DNS) answer(w dns.ResponseWriter, request *dns.Msg) {
	response := new(dns.Msg).SetReply(request)
	response.Authoritative = true
	if len(request.Question) != 1 {
		response.Rcode = dns.RcodeFormatError
	} else {
		d.lookup(request.Question[0], response)
	}
	// Who asked may be gone; there is nobody to tell.
	_ = w.WriteMsg(response)
}

func (d *DNS) lookup(question dns.Question, response *dns.Msg) {
	name := canonical(question.Name)
	d.mu.Lock()
	d.queries = append(d.queries, Query{Name: name, Type: dns.TypeToString[question.Qtype], Time: time.Now()})
	found, ok := d.find(name)
	d.mu.Unlock()
	if !ok {
		response.Rcode = dns.RcodeNameError
		return
	}
	header := dns.RR_Header{
		Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET,
		Ttl: uint32(found.ttl / time.Second),
	}
	for _, address := range found.addresses {
		switch {
		// An IPv4-mapped IPv6 address is asked for, and answered, as IPv6.
		case question.Qtype == dns.TypeA && address.Is4():
			response.Answer = append(response.Answer, &dns.A{Hdr: header, A: address.AsSlice()})
		case question.Qtype == dns.TypeAAAA && address.Is6():
			response.Answer = append(response.Answer, &dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
		}
	}
}

// find looks a name up, then the wildcards above it, the closest first.
func (d *DNS) find(name string) (record, bool) {
	if found, ok := d.records[name]; ok {
		return found, true
	}
	for rest := name; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return record{}, false
		}
		if found, ok := d.records["*."+after]; ok {
			return found, true
		}
		rest = after
	}
}
