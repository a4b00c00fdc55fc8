package reader

import (
	"errors"
	"fmt"
	"strings"

	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	httpstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// routeConfig finds what is to be done with a request.
type routeConfig struct {
	ignorePort bool
	// exact are the virtual hosts by name, in lower case; wildcards those by
	// suffix, ".example.com", and other is the one for `*`.
	exact, wildcards map[string]*virtualHost
	other            *virtualHost
}

type virtualHost struct {
	name      string
	routes    []*httpRoute
	overrides overrides
}

// overrides are what filters do instead, by their names.
type overrides map[string]any

// enabled overrides nothing, but that a filter is disabled.
type enabled struct{}

type httpRoute struct {
	name string
	// connect is for CONNECT alone; any other takes what has a path with the
	// prefix.
	connect   bool
	prefix    string
	cluster   string
	tunnel    bool
	overrides overrides
}

func (r *parser) routeConfig(m *routes.RouteConfiguration) (*routeConfig, error) {
	// Headers of requests are removed, and the snapshot's references are looked
	// up, after all that matters here.
	if err := only(m, "name", "virtual_hosts", "ignore_port_in_host_matching", "request_headers_to_remove", "validate_clusters"); err != nil {
		return nil, err
	}
	for _, h := range m.GetRequestHeadersToRemove() {
		if h == "" || h == "host" || strings.HasPrefix(h, ":") {
			return nil, fmt.Errorf("the header %q is removed: Envoy refuses it", h)
		}
	}
	out := &routeConfig{
		ignorePort: m.GetIgnorePortInHostMatching(), exact: make(map[string]*virtualHost), wildcards: make(map[string]*virtualHost),
	}
	names := make(map[string]bool)
	for _, h := range m.GetVirtualHosts() {
		if names[h.GetName()] {
			return nil, fmt.Errorf("two virtual hosts are called %q: Envoy refuses it", h.GetName())
		}
		names[h.GetName()] = true
		if err := r.virtualHost(out, h); err != nil {
			return nil, fmt.Errorf("virtual host %s: %w", h.GetName(), err)
		}
	}
	return out, nil
}

func (r *parser) virtualHost(c *routeConfig, m *routes.VirtualHost) error {
	// The metadata is for the log.
	if err := only(m, "name", "domains", "routes", "metadata", "typed_per_filter_config"); err != nil {
		return err
	}
	h := &virtualHost{name: m.GetName()}
	var err error
	if h.overrides, err = r.overrides(m.GetTypedPerFilterConfig()); err != nil {
		return err
	}
	for _, m := range m.GetRoutes() {
		route, err := r.httpRoute(m)
		if err != nil {
			return fmt.Errorf("route %s: %w", m.GetName(), err)
		}
		h.routes = append(h.routes, route)
	}
	if len(m.GetDomains()) == 0 {
		return errors.New("no domains: Envoy refuses it")
	}
	for _, d := range m.GetDomains() {
		d = strings.ToLower(d)
		taken := false
		switch {
		case d == "*":
			taken = c.other != nil
			c.other = h
		case strings.HasPrefix(d, "*") && strings.Count(d, "*") == 1:
			taken = c.wildcards[d[1:]] != nil
			c.wildcards[d[1:]] = h
		case d == "" || strings.Contains(d, "*"):
			return fmt.Errorf("the domain %q: the reader does not know it", d)
		default:
			taken = c.exact[d] != nil
			c.exact[d] = h
		}
		if taken {
			return fmt.Errorf("the domain %q is there twice: Envoy refuses it", d)
		}
	}
	return nil
}

func (r *parser) overrides(all map[string]*anypb.Any) (overrides, error) {
	out := make(overrides, len(all))
	for name, packed := range all {
		known := r.overridesRead[packed.GetTypeUrl()+"\x00"+string(packed.GetValue())]
		if known == nil {
			var err error
			if known, err = r.override(packed); err != nil {
				return nil, fmt.Errorf("what filter %s does here: %w", name, err)
			}
			r.overridesRead[packed.GetTypeUrl()+"\x00"+string(packed.GetValue())] = known
		}
		out[name] = known
	}
	return out, nil
}

func (r *parser) override(packed *anypb.Any) (any, error) {
	switch {
	case is(packed, &httprbac.RBACPerRoute{}):
		m, err := unpack(packed, &httprbac.RBACPerRoute{})
		if err != nil {
			return nil, err
		}
		if err := only(m, "rbac"); err != nil {
			return nil, err
		}
		return r.httpRBAC(m.GetRbac()) // an absent one enforces nothing
	case is(packed, &httpstate.Config{}):
		m, err := unpack(packed, &httpstate.Config{})
		if err != nil {
			return nil, err
		}
		return r.httpState(m)
	case is(packed, &routes.FilterConfig{}):
		m, err := unpack(packed, &routes.FilterConfig{})
		if err != nil {
			return nil, err
		}
		// What a route says of filter state is done besides what the filter says, so
		// nothing changes nothing.
		state, err := unpack(m.GetConfig(), &httpstate.Config{})
		if err != nil || !proto.Equal(state, &httpstate.Config{}) {
			return nil, errors.New("a FilterConfig that does not say that a filter is to act as it is: the reader does not know it")
		}
		return enabled{}, only(m, "config")
	default:
		return nil, fmt.Errorf("the reader does not know overrides of type %s", packed.GetTypeUrl())
	}
}

func (r *parser) httpRoute(m *routes.Route) (*httpRoute, error) {
	if err := only(m, "name", "match", "route", "typed_per_filter_config"); err != nil {
		return nil, err
	}
	out := &httpRoute{name: m.GetName()}
	if err := only(m.GetMatch(), "connect_matcher", "prefix"); err != nil {
		return nil, err
	}
	switch match := m.GetMatch().GetPathSpecifier().(type) {
	case *routes.RouteMatch_ConnectMatcher_:
		if err := only(match.ConnectMatcher); err != nil {
			return nil, err
		}
		out.connect = true
	case *routes.RouteMatch_Prefix:
		out.prefix = match.Prefix
	default:
		return nil, errors.New("a route without a match: Envoy refuses it")
	}
	action := m.GetRoute()
	if err := only(action, "cluster", "timeout", "upgrade_configs", "host_rewrite"); err != nil {
		return nil, err
	}
	if rewrite := action.GetHostRewrite(); rewrite != "" && rewrite != "%DYNAMIC_METADATA(sallyport:host)%" {
		return nil, fmt.Errorf("the host becomes %q: the reader does not know it", rewrite)
	}
	for _, u := range action.GetUpgradeConfigs() {
		if err := only(u, "upgrade_type", "enabled", "connect_config"); err != nil {
			return nil, err
		}
		if err := only(u.GetConnectConfig()); err != nil {
			return nil, err
		}
		if u.GetUpgradeType() != "CONNECT" || !u.GetEnabled().GetValue() || u.GetConnectConfig() == nil {
			return nil, errors.New("an upgrade that is no tunnel: the reader does not know it")
		}
		out.tunnel = true
	}
	if out.tunnel != out.connect {
		return nil, errors.New("a tunnel for other requests than CONNECT, or CONNECT without one: the reader does not know it")
	}
	out.cluster = action.GetCluster()
	r.used[out.cluster] = true
	var err error
	out.overrides, err = r.overrides(m.GetTypedPerFilterConfig())
	return out, err
}

// find is the virtual host for an authority: an exact one, or the wildcard with
// the longest suffix, or `*`; nil if there is none.
func (c *routeConfig) find(authority string) *virtualHost {
	host := authority
	if c.ignorePort {
		// As Envoy cuts it, whatever is behind the last colon.
		if colon := strings.LastIndexByte(host, ':'); colon >= 0 && strings.LastIndexByte(host, ']') < colon {
			host = host[:colon]
		}
	}
	host = lower(host)
	if h := c.exact[host]; h != nil {
		return h
	}
	for i := 1; i < len(host); i++ { // something must come before the suffix
		if h := c.wildcards[host[i:]]; h != nil {
			return h
		}
	}
	return c.other
}

// find is the first route that takes the request; nil if none does.
func (h *virtualHost) find(method, path string) *httpRoute {
	for _, r := range h.routes {
		connect := method == connectMethod
		if r.connect && connect || !r.connect && !connect && strings.HasPrefix(path, r.prefix) {
			return r
		}
	}
	return nil
}
