package reader

import (
	"errors"
	"fmt"
	"strings"

	mutation "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headermetadata "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutation "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
)

// httpManager is an http_connection_manager filter, which ends a chain.
type httpManager struct {
	// routes is the name of the route configuration.
	routes  string
	filters []httpFilter
}

// httpFilter is one HTTP filter. Routes may override what it does, under its
// name.
type httpFilter struct {
	name string
	// does is an *rbacFilter, an httpState, or nil for what has no say.
	does any
	// disabled filters do nothing, unless a route or a virtual host has something
	// under their name.
	disabled bool
}

// httpState are filter states that are set for a request.
type httpState []stateValue

func (r *parser) httpManager(m *hcm.HttpConnectionManager) (*httpManager, error) {
	// Of the others, some say how requests are read from the wire, and how much
	// of them, which is the codec's business; some what hosts are sent beside
	// host and port, or what is logged.
	if err := only(m, "stat_prefix", "rds", "http_filters", "upgrade_configs",
		"access_log", "local_reply_config", "proxy_100_continue", "normalize_path", "generate_request_id",
		"path_with_escaped_slashes_action", "server_header_transformation", "scheme_header_transformation",
		"http_protocol_options", "http2_protocol_options", "common_http_protocol_options", "request_headers_timeout",
		"stream_idle_timeout", "delayed_close_timeout", "use_remote_address", "skip_xff_append", "internal_address_config",
		"early_header_mutation_extensions"); err != nil {
		return nil, err
	}
	if !m.GetUseRemoteAddress().GetValue() || !m.GetSkipXffAppend() {
		return nil, errors.New("headers say where a client is: the reader knows connections alone")
	}
	if m.GetNormalizePath().GetValue() {
		return nil, errors.New("paths are changed")
	}
	if err := only(m.GetHttpProtocolOptions(), "allow_absolute_url", "accept_http_10"); err != nil {
		return nil, err
	}
	for _, u := range m.GetUpgradeConfigs() {
		if err := only(u, "upgrade_type", "enabled"); err != nil {
			return nil, err
		}
		if u.GetUpgradeType() != "CONNECT" {
			return nil, fmt.Errorf("upgrades to %s: the reader does not know them", u.GetUpgradeType())
		}
		if u.GetEnabled() == nil || u.GetEnabled().GetValue() {
			return nil, errors.New("any request with `Upgrade: CONNECT` is a tunnel")
		}
	}
	for _, l := range m.GetLocalReplyConfig().GetMappers() {
		if err := only(l, "filter", "body_format_override"); err != nil { // no other status code
			return nil, err
		}
	}
	if err := only(m.GetRds(), "config_source", "route_config_name"); err != nil {
		return nil, err
	}
	for _, e := range m.GetEarlyHeaderMutationExtensions() {
		config, err := unpack(e.GetTypedConfig(), &earlymutation.HeaderMutation{})
		if err != nil {
			return nil, err
		}
		if err := removesOnly(config.GetMutations()); err != nil {
			return nil, err
		}
	}
	out := &httpManager{routes: m.GetRds().GetRouteConfigName()}
	r.routesUsed[out.routes] = true
	for i, f := range m.GetHttpFilters() {
		read, ends, err := r.httpFilter(f)
		if err != nil {
			return nil, fmt.Errorf("HTTP filter %s: %w", f.GetName(), err)
		}
		if ends != (i == len(m.GetHttpFilters())-1) {
			return nil, errors.New("the router must be the last HTTP filter, and the only one: Envoy refuses it otherwise")
		}
		out.filters = append(out.filters, read)
	}
	if len(out.filters) == 0 {
		return nil, errors.New("no HTTP filter")
	}
	return out, nil
}

// removesOnly checks that no header is written, and none removed that a request
// is judged by.
func removesOnly(all []*mutation.HeaderMutation) error {
	for _, m := range all {
		if err := only(m, "remove_on_match"); err != nil {
			return err
		}
		if err := only(m.GetRemoveOnMatch(), "key_matcher"); err != nil {
			return err
		}
		prefix := m.GetRemoveOnMatch().GetKeyMatcher().GetPrefix()
		if prefix == "" || strings.HasPrefix(prefix, ":") || strings.HasPrefix("host", prefix) {
			return fmt.Errorf("headers are removed by %v: the reader does not know what is left", m.GetRemoveOnMatch())
		}
	}
	return nil
}

func (r *parser) httpFilter(f *hcm.HttpFilter) (out httpFilter, ends bool, err error) {
	out.name, out.disabled = f.GetName(), f.GetDisabled()
	if err := only(f, "name", "typed_config", "disabled"); err != nil {
		return out, false, err
	}
	packed := f.GetTypedConfig()
	switch {
	case is(packed, &httprbac.RBAC{}):
		m, err := unpack(packed, &httprbac.RBAC{})
		if err != nil {
			return out, false, err
		}
		out.does, err = r.httpRBAC(m)
		return out, false, err
	case is(packed, &httpstate.Config{}):
		m, err := unpack(packed, &httpstate.Config{})
		if err != nil {
			return out, false, err
		}
		out.does, err = r.httpState(m)
		return out, false, err
	case is(packed, &headermetadata.Config{}):
		m, err := unpack(packed, &headermetadata.Config{})
		if err != nil {
			return out, false, err
		}
		return out, false, hostWithoutPort(m)
	case is(packed, &router.Router{}):
		m, err := unpack(packed, &router.Router{})
		if err != nil {
			return out, false, err
		}
		return out, true, only(m, "suppress_envoy_headers")
	default:
		return out, false, fmt.Errorf("the reader does not know HTTP filters of type %s", packed.GetTypeUrl())
	}
}

func (r *parser) httpState(m *httpstate.Config) (httpState, error) {
	if err := only(m, "on_request_headers"); err != nil {
		return nil, err
	}
	var out httpState
	for _, v := range m.GetOnRequestHeaders() {
		s, err := r.stateValue(v)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// hostWithoutPort knows one use of header_to_metadata: it keeps the authority
// without its port.
func hostWithoutPort(m *headermetadata.Config) error {
	if err := only(m, "request_rules"); err != nil {
		return err
	}
	for _, rule := range m.GetRequestRules() {
		if err := only(rule, "header", "on_header_present"); err != nil {
			return err
		}
		v := rule.GetOnHeaderPresent()
		if err := only(v, "metadata_namespace", "key", "regex_value_rewrite"); err != nil {
			return err
		}
		rewrite := v.GetRegexValueRewrite()
		if rule.GetHeader() != ":authority" || v.GetMetadataNamespace() != "sallyport" || v.GetKey() != "host" ||
			rewrite.GetPattern().GetRegex() != `^([^:]*)(:[0-9]*)?$` || rewrite.GetSubstitution() != `\1` {
			return fmt.Errorf("the reader does not know what %v is good for", rule)
		}
	}
	return nil
}
