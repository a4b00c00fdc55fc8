package reader

import (
	"errors"
	"fmt"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	sfs "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	snidfp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
)

// Filter states that Envoy itself reads: whom sni_dynamic_forward_proxy and the
// dynamic forward proxy cluster resolve instead of the server name.
const (
	dynamicHost = "envoy.upstream.dynamic_host"
	dynamicPort = "envoy.upstream.dynamic_port"
)

// setState is a set_filter_state filter.
type setState struct{ onNew, onHandshake []stateValue }

// stateValue is one filter state that is set.
type stateValue struct {
	key    string
	format func(*connection) string
	skip   bool // if empty
	shared sharing
}

// sharing is how far a filter state goes.
type sharing int

const (
	notShared sharing = iota
	sharedOnce
	sharedOnwards
)

// resolve is an sni_dynamic_forward_proxy filter: it resolves when the
// connection is made, before any byte.
type resolve struct {
	cache *dnsCache
	port  uint16
	save  bool
}

// proxy is a tcp_proxy filter, which ends a chain.
type proxy struct {
	cluster string
	mode    tcpproxy.UpstreamConnectMode
}

// filter reads one network filter.
func (r *parser) filter(f *listeners.Filter) (any, error) {
	if err := only(f, "name", "typed_config"); err != nil {
		return nil, err
	}
	packed := f.GetTypedConfig()
	key := packed.GetTypeUrl() + "\x00" + string(packed.GetValue())
	if known := r.filters[key]; known != nil {
		return known, nil
	}
	out, err := r.unpackFilter(f)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", f.GetName(), err)
	}
	r.filters[key] = out
	return out, nil
}

func (r *parser) unpackFilter(f *listeners.Filter) (any, error) {
	packed := f.GetTypedConfig()
	switch {
	case is(packed, &setfilterstate.Config{}):
		m, err := unpack(packed, &setfilterstate.Config{})
		if err != nil {
			return nil, err
		}
		return r.setState(m)
	case is(packed, &rbacfilter.RBAC{}):
		m, err := unpack(packed, &rbacfilter.RBAC{})
		if err != nil {
			return nil, err
		}
		return r.rbac(m)
	case is(packed, &snidfp.FilterConfig{}):
		m, err := unpack(packed, &snidfp.FilterConfig{})
		if err != nil {
			return nil, err
		}
		return r.resolve(m)
	case is(packed, &hcm.HttpConnectionManager{}):
		m, err := unpack(packed, &hcm.HttpConnectionManager{})
		if err != nil {
			return nil, err
		}
		return r.httpManager(m)
	case is(packed, &tcpproxy.TcpProxy{}):
		m, err := unpack(packed, &tcpproxy.TcpProxy{})
		if err != nil {
			return nil, err
		}
		return r.proxy(m)
	default:
		return nil, fmt.Errorf("the reader does not know filters of type %s", packed.GetTypeUrl())
	}
}

func (r *parser) setState(m *setfilterstate.Config) (*setState, error) {
	if err := only(m, "on_new_connection", "on_downstream_tls_handshake"); err != nil {
		return nil, err
	}
	out := &setState{}
	for _, v := range m.GetOnNewConnection() {
		s, err := r.stateValue(v)
		if err != nil {
			return nil, err
		}
		out.onNew = append(out.onNew, s)
	}
	for _, v := range m.GetOnDownstreamTlsHandshake() {
		s, err := r.stateValue(v)
		if err != nil {
			return nil, err
		}
		out.onHandshake = append(out.onHandshake, s)
	}
	return out, nil
}

func (r *parser) stateValue(m *sfs.FilterStateValue) (v stateValue, err error) {
	if err := only(m, "object_key", "factory_key", "format_string", "skip_if_empty", "shared_with_upstream"); err != nil {
		return v, err
	}
	v.key, v.skip = m.GetObjectKey(), m.GetSkipIfEmpty()
	switch {
	case m.GetFactoryKey() == "" && (v.key == dynamicHost || v.key == dynamicPort):
	case (m.GetFactoryKey() == "envoy.string" || m.GetFactoryKey() == "envoy.hashable_string") && v.key != dynamicHost && v.key != dynamicPort:
	default:
		return v, fmt.Errorf("filter state %q with the factory %q: Envoy knows no such object", v.key, m.GetFactoryKey())
	}
	switch m.GetSharedWithUpstream() {
	case sfs.FilterStateValue_NONE:
	case sfs.FilterStateValue_ONCE:
		v.shared = sharedOnce
	case sfs.FilterStateValue_TRANSITIVE:
		v.shared = sharedOnwards
	default:
		return v, fmt.Errorf("unknown sharing %v", m.GetSharedWithUpstream())
	}
	v.format, err = format(m.GetFormatString())
	return v, err
}

// format reads a substitution format string that is text alone, or one command.
func format(m *core.SubstitutionFormatString) (func(*connection) string, error) {
	if err := only(m, "text_format_source"); err != nil {
		return nil, err
	}
	if err := only(m.GetTextFormatSource(), "inline_string"); err != nil {
		return nil, err
	}
	text := m.GetTextFormatSource().GetInlineString()
	switch text {
	case "%DOWNSTREAM_REMOTE_ADDRESS%":
		return func(c *connection) string { return c.source.String() }, nil
	case "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":
		return func(c *connection) string { return c.source.Addr().String() }, nil
	case "%UNIQUE_ID%":
		return func(*connection) string { return "2a6a2a5c-0000-4000-8000-000000000000" }, nil
	case "%DOWNSTREAM_PEER_URI_SAN%":
		return func(c *connection) string {
			if len(c.uriSANs) == 0 {
				return "-" // what Envoy prints for what it does not have
			}
			return strings.Join(c.uriSANs, ",")
		}, nil
	}
	if strings.Contains(text, "%") {
		return nil, fmt.Errorf("the reader does not know the format %q", text)
	}
	return func(*connection) string { return text }, nil
}

func (r *parser) resolve(m *snidfp.FilterConfig) (*resolve, error) {
	if err := only(m, "dns_cache_config", "port_value", "save_upstream_address"); err != nil {
		return nil, err
	}
	cache, err := r.dnsCache(m.GetDnsCacheConfig())
	if err != nil {
		return nil, err
	}
	if m.GetPortValue() == 0 || m.GetPortValue() > 65535 {
		return nil, fmt.Errorf("%d is not a port", m.GetPortValue())
	}
	return &resolve{cache: cache, port: uint16(m.GetPortValue()), save: m.GetSaveUpstreamAddress()}, nil
}

func (r *parser) proxy(m *tcpproxy.TcpProxy) (*proxy, error) {
	// The timeouts, the draining and the log have no say in what is refused.
	if err := only(m, "stat_prefix", "cluster", "upstream_connect_mode", "max_early_data_bytes",
		"check_drain_close", "idle_timeout", "max_downstream_connection_duration", "access_log", "access_log_options"); err != nil {
		return nil, err
	}
	p := &proxy{cluster: m.GetCluster(), mode: m.GetUpstreamConnectMode()}
	switch p.mode {
	case tcpproxy.UpstreamConnectMode_IMMEDIATE:
	case tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_DATA, tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_TLS_HANDSHAKE:
		if m.GetMaxEarlyDataBytes() == nil {
			return nil, errors.New("upstream_connect_mode without max_early_data_bytes: Envoy refuses it")
		}
	default:
		return nil, fmt.Errorf("unknown upstream_connect_mode %v", p.mode)
	}
	r.used[p.cluster] = true
	return p, nil
}
