package reader

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// Connection is what arrives at a gateway.
type Connection struct {
	// Entry is the name of the listener, entry/NAME.
	Entry string
	// Source is where it comes from.
	Source netip.AddrPort
	// Certificate is the client's, signed by the trusted authority; nil for
	// none. Entries without TLS do not ask for it.
	Certificate *Certificate
	// Hello is the app's first message; nil if it does not speak TLS.
	Hello *Hello
}

// Certificate is as much of a certificate as Envoy looks at.
type Certificate struct{ URISANs []string }

// Hello is as much of a ClientHello as Envoy looks at. An empty ServerName is a
// hello without the extension.
type Hello struct{ ServerName string }

// Resolver is DNS: all addresses of a name; none if it does not exist.
type Resolver func(host string) []netip.Addr

// Step is a filter chain that the connection was in.
type Step struct{ Listener, Chain string }

// Verdict is what became of a connection. The zero value is a refusal.
type Verdict struct {
	Connected bool
	// Path are the chains it went through; the last one connected or refused.
	Path []Step
	// Refusal says in words what refused it.
	Refusal string
	// Policy is the RBAC policy that Envoy names: the Deny rule that matched, or
	// "none" if no Allow rule did. Empty if it was no RBAC filter.
	Policy string
	// Asked are the names that were asked of DNS, whatever became of the
	// connection.
	Asked []string
	// Dialled are the addresses that were connected to, or tried one after
	// another, whatever became of the connection.
	Dialled []netip.AddrPort
	// Host is the name whose addresses were dialled; empty if they were given.
	Host string
}

// Last is the filter chain that decided; the zero Step if none did.
func (v Verdict) Last() Step {
	if len(v.Path) == 0 {
		return Step{}
	}
	return v.Path[len(v.Path)-1]
}

// connection is one connection in one stage.
type connection struct {
	gateway    *Gateway
	resolver   Resolver
	source     netip.AddrPort
	uriSANs    []string
	hello      *Hello
	serverName string
	state      map[string]stateObject
	// request is the one that an entry is looking at.
	request *request
	// upstream is the address that sni_dynamic_forward_proxy saved.
	upstream netip.Addr
	// resolved are the addresses by cache and host, for this connection alone:
	// as in a gateway that was just started.
	resolved map[string][]netip.Addr
	verdict  *Verdict
}

type stateObject struct {
	value  string
	shared sharing
}

// Connect says what becomes of a connection.
func (g *Gateway) Connect(from Connection, dns Resolver) (Verdict, error) {
	v := &Verdict{}
	entry := g.listeners[from.Entry]
	if entry == nil || entry.internal {
		return *v, fmt.Errorf("there is no entry %q", from.Entry)
	}
	c := &connection{
		gateway: g, resolver: dns, source: from.Source, hello: from.Hello,
		state: make(map[string]stateObject), resolved: make(map[string][]netip.Addr), verdict: v,
	}
	chain := c.accepted(entry, from)
	if chain == nil {
		return *v, nil
	}
	return *v, c.run(entry, chain)
}

// accepted is the filter chain of an entry that takes the connection, after the
// handshake; nil if none does.
func (c *connection) accepted(entry *listener, from Connection) *chain {
	if entry.choose != nil {
		c.serverName = from.Hello.inspect()
		name, ok := entry.choose(c)
		if !ok {
			c.verdict.Refusal = "no filter chain in " + entry.name
			return nil
		}
		return entry.chains[name]
	}
	chain := entry.from(from.Source.Addr())
	switch {
	case chain == nil:
		c.verdict.Refusal = "no filter chain for the source address"
		return nil
	case chain.tls == nil:
	case from.Certificate == nil:
		c.verdict.Refusal = "no client certificate"
		return nil
	case !chain.tls.accepts(from.Certificate.URISANs):
		c.verdict.Refusal = "the client certificate has no name that is wanted"
		return nil
	default:
		c.uriSANs = from.Certificate.URISANs
	}
	return chain
}

// run takes the connection through a chain: first what happens when it is
// made, then the handshake, then the first bytes.
func (c *connection) run(l *listener, chain *chain) error {
	const most = 8
	if len(c.verdict.Path) == most {
		return fmt.Errorf("more than %d stages", most)
	}
	c.verdict.Path = append(c.verdict.Path, Step{l.name, chain.name})
	end, ok := chain.filters[len(chain.filters)-1].(*proxy)
	if !ok {
		return fmt.Errorf("filter chain %s speaks HTTP: see Request", chain.name)
	}
	for _, f := range chain.filters {
		switch f := f.(type) {
		case *setState:
			c.set(f.onNew)
			if chain.tls == nil { // there will be no handshake
				c.set(f.onHandshake)
			}
		case *resolve:
			c.resolve(f)
		}
	}
	handshake := end.mode == tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_TLS_HANDSHAKE
	if end.mode == tcpproxy.UpstreamConnectMode_IMMEDIATE || handshake && chain.tls == nil {
		if err := c.dial(end); err != nil {
			return err
		}
	}
	if chain.tls != nil {
		for _, f := range chain.filters {
			if f, ok := f.(*setState); ok {
				c.set(f.onHandshake)
			}
		}
		if handshake {
			if err := c.dial(end); err != nil {
				return err
			}
		}
	}
	for _, f := range chain.filters {
		f, ok := f.(*rbacFilter)
		if !ok {
			continue
		}
		if policy, refused := f.refuses(c); refused {
			c.verdict.Refusal, c.verdict.Policy = "RBAC", policy
			return nil
		}
	}
	if end.mode == tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_DATA {
		if err := c.dial(end); err != nil {
			return err
		}
	}
	return c.forward(end)
}

func (c *connection) set(values []stateValue) {
	for _, v := range values {
		value := v.format(c)
		if value == "" && v.skip {
			continue
		}
		if _, err := strconv.ParseUint(value, 10, 32); v.key == dynamicPort && err != nil {
			continue // Envoy makes no object of it
		}
		c.state[v.key] = stateObject{value, v.shared}
	}
}

// target is the host that is resolved instead of, or as, the server name.
func (c *connection) target() string {
	if h, ok := c.state[dynamicHost]; ok {
		return h.value
	}
	return c.serverName
}

// port is the one that is dialled instead of the default.
func (c *connection) port(otherwise uint16) uint16 {
	if n, err := strconv.ParseUint(c.state[dynamicPort].value, 10, 16); err == nil && n > 0 {
		return uint16(n)
	}
	return otherwise
}

// resolve is sni_dynamic_forward_proxy.
func (c *connection) resolve(f *resolve) {
	host := c.target()
	if host == "" {
		return
	}
	port := c.port(f.port)
	c.state[dynamicPort] = stateObject{value: strconv.Itoa(int(port))}
	addresses := c.lookup(f.cache, host)
	if f.save && len(addresses) > 0 {
		c.upstream = addresses[0]
	}
}

// longestName is the longest host name that fits into a DNS message, RFC 1035
// §2.3.4 less the root label: a resolver refuses longer ones without asking.
const longestName = 253

func (c *connection) lookup(cache *dnsCache, host string) []netip.Addr {
	key := cache.name + "\x00" + host
	known, ok := c.resolved[key]
	if ok {
		return known
	}
	var all []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{addr} // Envoy asks nobody for an IP literal
	} else if len(host) <= longestName {
		c.verdict.Asked = append(c.verdict.Asked, host)
		all = c.resolver(host)
	}
	c.resolved[key] = cache.answer(all)
	return c.resolved[key]
}

// dial makes the connection to what is outside. Internal listeners are entered
// with the first bytes: tls_inspector waits for them.
func (c *connection) dial(p *proxy) error {
	to := c.gateway.clusters[p.cluster]
	switch {
	case to.listener != "":
	case to.forward != nil:
		host := c.target()
		if host == "" {
			return nil
		}
		// Without sni_dynamic_forward_proxy before it, the cluster resolves on
		// its own, and its default port is 80.
		for _, a := range c.lookup(to.forward, host) {
			c.verdict.Dialled = append(c.verdict.Dialled, netip.AddrPortFrom(a, c.port(80)))
		}
		c.verdict.Host = host
	default:
		c.verdict.Dialled = append(c.verdict.Dialled, to.addresses...)
	}
	return nil
}

// forward sends the first bytes on.
func (c *connection) forward(p *proxy) error {
	to := c.gateway.clusters[p.cluster]
	if to.listener == "" {
		if c.verdict.Connected = len(c.verdict.Dialled) > 0; !c.verdict.Connected {
			c.verdict.Refusal = "no address to connect to"
		}
		return nil
	}
	next := &connection{
		gateway: c.gateway, resolver: c.resolver, hello: c.hello, serverName: c.hello.inspect(),
		state: make(map[string]stateObject), resolved: c.resolved, verdict: c.verdict,
	}
	for key, v := range c.state {
		switch {
		case !to.shares:
		case v.shared == sharedOnwards:
			next.state[key] = v
		case v.shared == sharedOnce:
			next.state[key] = stateObject{v.value, notShared}
		}
	}
	l := c.gateway.listeners[to.listener]
	name, ok := l.choose(next)
	if !ok {
		c.verdict.Refusal = "no filter chain in " + l.name
		return nil
	}
	return next.run(l, l.chains[name])
}

// inspect is tls_inspector: the server name, in lower case, or nothing if it is
// not a hello that TLS libraries take: BoringSSL refuses a name with a NUL byte,
// and one of more than 255 bytes.
func (h *Hello) inspect() string {
	const longest = 255
	if h == nil || len(h.ServerName) > longest || strings.ContainsRune(h.ServerName, 0) {
		return ""
	}
	return lower(h.ServerName)
}

// lower is the text with ASCII capitals made small, and no others.
func lower(s string) string {
	out := []byte(s)
	for i, b := range out {
		if 'A' <= b && b <= 'Z' {
			out[i] = b + 'a' - 'A'
		}
	}
	return string(out)
}
