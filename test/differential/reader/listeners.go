package reader

import (
	"errors"
	"fmt"
	"net/netip"

	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
)

// listener is an entry, or an internal listener.
type listener struct {
	name     string
	internal bool
	chains   map[string]*chain
	// choose picks a chain where the hello is read, bySource one of another entry.
	choose   chooser
	bySource []*chain
}

// chain is a filter chain.
type chain struct {
	name    string
	filters []any
	tls     *downstreamTLS // nil: plain
	// sources are the addresses it is for; none means all that no other chain
	// is for.
	sources []netip.Prefix
}

func (r *parser) listener(m *listeners.Listener) (*listener, error) {
	// The log sees what happens and changes nothing; nor do limits.
	if err := only(m, "name", "address", "traffic_direction", "access_log", "filter_chains",
		"filter_chain_matcher", "listener_filters", "internal_listener",
		"per_connection_buffer_limit_bytes", "ignore_global_conn_limit"); err != nil {
		return nil, err
	}
	l := &listener{name: m.GetName(), chains: make(map[string]*chain)}
	for _, c := range m.GetFilterChains() {
		read, err := r.chain(c)
		if err != nil {
			return nil, fmt.Errorf("filter chain %s: %w", c.GetName(), err)
		}
		if read.name == "" || l.chains[read.name] != nil {
			return nil, fmt.Errorf("filter chain %q: the name is empty, or there twice", read.name)
		}
		l.chains[read.name] = read
	}
	if m.GetInternalListener() != nil {
		l.internal = true
		return l, r.internal(l, m)
	}
	return l, r.entry(l, m)
}

// internal reads what an internal listener has: tls_inspector and a matcher.
func (r *parser) internal(l *listener, m *listeners.Listener) error {
	if err := only(m.GetInternalListener()); err != nil {
		return err
	}
	if m.GetAddress() != nil {
		return errors.New("an internal listener with an address")
	}
	return r.choice(l, m)
}

// choice reads how a listener chooses a chain by what the hello says.
func (r *parser) choice(l *listener, m *listeners.Listener) error {
	if err := inspects(m.GetListenerFilters()); err != nil {
		return err
	}
	if m.GetFilterChainMatcher() == nil {
		return errors.New("a listener that reads the hello without filter_chain_matcher: the reader does not know it")
	}
	r.chosen = make(map[string]bool)
	choose, err := r.chainMatcher(m.GetFilterChainMatcher())
	if err != nil {
		return fmt.Errorf("filter_chain_matcher: %w", err)
	}
	l.choose = choose
	for name := range r.chosen {
		if l.chains[name] == nil {
			return fmt.Errorf("filter_chain_matcher chooses %q, which does not exist", name)
		}
	}
	for _, c := range l.chains {
		// One that is never chosen is in order: it keeps open connections.
		if c.tls != nil || c.sources != nil {
			return fmt.Errorf("filter chain %s, chosen by filter_chain_matcher, has a transport socket or a match", c.name)
		}
		if _, ok := c.filters[len(c.filters)-1].(*proxy); !ok {
			return fmt.Errorf("filter chain %s, chosen by filter_chain_matcher, speaks HTTP: the reader does not know it", c.name)
		}
	}
	return nil
}

// inspects checks that the server name is read from the hello, and nothing else
// happens before a chain is chosen.
func inspects(filters []*listeners.ListenerFilter) error {
	if len(filters) != 1 {
		return fmt.Errorf("%d listener filters: the reader knows tls_inspector alone", len(filters))
	}
	if err := only(filters[0], "name", "typed_config"); err != nil {
		return err
	}
	m, err := unpack(filters[0].GetTypedConfig(), &tlsinspector.TlsInspector{})
	if err != nil {
		return err
	}
	return only(m)
}

// entry reads what an entry has: an address, and chains by source address, or,
// if it reads the hello itself, by the server name.
func (r *parser) entry(l *listener, m *listeners.Listener) error {
	if _, err := socketAddress(m.GetAddress()); err != nil {
		return err
	}
	if len(m.GetListenerFilters()) > 0 || m.GetFilterChainMatcher() != nil {
		return r.choice(l, m)
	}
	taken := make(map[netip.Prefix]string)
	for _, c := range m.GetFilterChains() {
		read := l.chains[c.GetName()]
		l.bySource = append(l.bySource, read)
		for _, p := range read.everywhere() {
			if other, ok := taken[p]; ok {
				return fmt.Errorf("filter chains %s and %s both match %s", other, read.name, p)
			}
			taken[p] = read.name
		}
	}
	return nil
}

// ends reports whether nothing comes after a filter.
func ends(filter any) bool {
	switch filter.(type) {
	case *proxy, *httpManager:
		return true
	default:
		return false
	}
}

// everywhere is what a chain's sources mean.
func (c *chain) everywhere() []netip.Prefix {
	if len(c.sources) > 0 {
		return c.sources
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// from picks the chain with the most specific range of source addresses.
func (l *listener) from(source netip.Addr) *chain {
	var found *chain
	most := -1
	for _, c := range l.bySource {
		for _, p := range c.everywhere() {
			if p.Contains(source) && p.Bits() > most {
				found, most = c, p.Bits()
			}
		}
	}
	return found
}

func (r *parser) chain(m *listeners.FilterChain) (*chain, error) {
	if err := only(m, "name", "filters", "filter_chain_match", "transport_socket", "transport_socket_connect_timeout"); err != nil {
		return nil, err
	}
	c := &chain{name: m.GetName()}
	if err := only(m.GetFilterChainMatch(), "source_prefix_ranges"); err != nil {
		return nil, err
	}
	for _, s := range m.GetFilterChainMatch().GetSourcePrefixRanges() {
		p, err := coreRange(s)
		if err != nil {
			return nil, err
		}
		c.sources = append(c.sources, p)
	}
	if s := m.GetTransportSocket(); s != nil {
		tls, err := r.downstreamTLS(s)
		if err != nil {
			return nil, err
		}
		c.tls = tls
	}
	for i, f := range m.GetFilters() {
		read, err := r.filter(f)
		if err != nil {
			return nil, err
		}
		if ends(read) != (i == len(m.GetFilters())-1) {
			return nil, errors.New("a chain must end with tcp_proxy or http_connection_manager, and have no other: Envoy refuses it otherwise")
		}
		c.filters = append(c.filters, read)
	}
	if len(c.filters) == 0 {
		return nil, errors.New("no filter: Envoy would close every connection")
	}
	return c, nil
}
