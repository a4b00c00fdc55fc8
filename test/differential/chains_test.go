package differential

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	snidfp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/xds/translate"
)

// checkChains says which filter chain could let something through that no rule
// allows: in every internal listener, before a name is resolved and before a
// connection leaves the gateway, there must be an RBAC filter that allows, with
// rules, and only by the requested server name.
func checkChains(res *translate.Resources) error {
	inside := make(map[string]bool) // clusters that lead to the next stage
	for _, r := range res.Clusters {
		c := r.Message.(*clusters.Cluster)
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				inside[c.GetName()] = e.GetEndpoint().GetAddress().GetEnvoyInternalAddress() != nil
			}
		}
	}
	var errs []error
	for _, r := range res.Listeners {
		l := r.Message.(*listeners.Listener)
		for _, c := range l.GetFilterChains() {
			check := checkEntryChain
			if l.GetInternalListener() != nil || l.GetFilterChainMatcher() != nil {
				check = checkChain
			}
			if err := check(c, inside); err != nil {
				errs = append(errs, fmt.Errorf("listener %s, filter chain %s: %w", l.GetName(), c.GetName(), err))
			}
		}
	}
	return errors.Join(errs...)
}

func checkChain(c *listeners.FilterChain, inside map[string]bool) error {
	checked := false
	for _, f := range c.GetFilters() {
		m, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *rbacfilter.RBAC:
			if m.GetRules() == nil {
				return fmt.Errorf("filter %s has no rules, so it enforces nothing", f.GetName())
			}
			if m.GetRules().GetAction() != rbac.RBAC_ALLOW {
				continue
			}
			if err := checkAllow(m.GetRules()); err != nil {
				return fmt.Errorf("filter %s: %w", f.GetName(), err)
			}
			checked = true
		case *snidfp.FilterConfig:
			if !checked {
				return errors.New("a name is resolved before it is checked")
			}
		case *tcpproxy.TcpProxy:
			if m.GetCluster() == "" {
				return errors.New("no single cluster")
			}
			if inside[m.GetCluster()] {
				continue
			}
			// RBAC looks at the first bytes: what connects before is not checked.
			if !checked || m.GetUpstreamConnectMode() != tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_DATA {
				return errors.New("a connection is made before it is checked")
			}
		}
	}
	return nil
}

// checkEntryChain: an entry knows no host. It leads inside, and what asks for a
// certificate allows by what is in it.
func checkEntryChain(c *listeners.FilterChain, inside map[string]bool) error {
	checked := false
	for _, f := range c.GetFilters() {
		m, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *rbacfilter.RBAC:
			if m.GetRules() == nil || m.GetRules().GetAction() != rbac.RBAC_ALLOW {
				return fmt.Errorf("filter %s does not allow by rules", f.GetName())
			}
			for name, p := range m.GetRules().GetPolicies() {
				if len(p.GetPermissions()) != 1 || !p.GetPermissions()[0].GetAny() {
					return fmt.Errorf("policy %s is not about the principal alone", name)
				}
				for _, who := range p.GetPrincipals() {
					if who.GetFilterState().GetKey() != translate.PrincipalKey {
						return fmt.Errorf("policy %s allows whoever it is", name)
					}
				}
			}
			checked = true
		case *snidfp.FilterConfig:
			return errors.New("an entry resolves a name")
		case *hcm.HttpConnectionManager:
			if !checked {
				return errors.New("nothing looks at what the certificate says")
			}
			if err := checkHTTPFilters(m); err != nil {
				return err
			}
		case *tcpproxy.TcpProxy:
			if m.GetCluster() == "" || !inside[m.GetCluster()] {
				return errors.New("an entry leads outside")
			}
			if c.GetTransportSocket() != nil && !checked {
				return errors.New("nothing looks at what the certificate says")
			}
		}
	}
	return nil
}

// checkHTTPFilters: where no route says otherwise, an HTTP entry denies every
// request, and then allows none.
func checkHTTPFilters(m *hcm.HttpConnectionManager) error {
	allows, denies := 0, 0
	for _, f := range m.GetHttpFilters() {
		rules := &httprbac.RBAC{}
		if f.GetTypedConfig().UnmarshalTo(rules) != nil {
			continue
		}
		if rules.GetRules() == nil {
			return fmt.Errorf("HTTP filter %s has no rules, so it enforces nothing", f.GetName())
		}
		switch rules.GetRules().GetAction() {
		case rbac.RBAC_ALLOW:
			allows++
			if len(rules.GetRules().GetPolicies()) > 0 {
				return fmt.Errorf("HTTP filter %s allows whatever the host", f.GetName())
			}
		case rbac.RBAC_DENY:
			for _, p := range rules.GetRules().GetPolicies() {
				if p.GetPermissions()[0].GetAny() && p.GetPrincipals()[0].GetAny() {
					denies++
				}
			}
		default:
			return fmt.Errorf("HTTP filter %s neither allows nor denies", f.GetName())
		}
	}
	if allows != 1 || denies != 1 {
		return errors.New("a request without a route is not denied, or allowed")
	}
	return nil
}

func checkAllow(rules *rbac.RBAC) error {
	for name, p := range rules.GetPolicies() {
		for _, permission := range p.GetPermissions() {
			if err := named(permission); err != nil {
				return fmt.Errorf("policy %s: %w", name, err)
			}
		}
	}
	return nil
}

// named is nil if the permission holds for certain server names at the most,
// and never without one.
func named(p *rbac.Permission) error {
	switch p := p.GetRule().(type) {
	case *rbac.Permission_RequestedServerName:
		return aName(p.RequestedServerName)
	case *rbac.Permission_AndRules: // one that is named narrows the others
		err := errors.New("an empty set")
		for _, inner := range p.AndRules.GetRules() {
			if err = named(inner); err == nil {
				return nil
			}
		}
		return err
	case *rbac.Permission_OrRules:
		if len(p.OrRules.GetRules()) == 0 {
			return errors.New("an empty set")
		}
		for _, inner := range p.OrRules.GetRules() {
			if err := named(inner); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("it allows by %T, not by server name", p)
	}
}

func aName(m *matcher.StringMatcher) error {
	switch m := m.GetMatchPattern().(type) {
	case *matcher.StringMatcher_Exact:
		if m.Exact != "" {
			return nil
		}
	case *matcher.StringMatcher_Suffix:
		if strings.HasPrefix(m.Suffix, ".") && len(m.Suffix) > 1 {
			return nil
		}
	case *matcher.StringMatcher_SafeRegex:
		re, err := regexp.Compile("^(?:" + m.SafeRegex.GetRegex() + ")$")
		if err == nil && !re.MatchString("") && !re.MatchString("a b") && !re.MatchString("127.0.0.1") {
			return nil
		}
	}
	return fmt.Errorf("it allows more than host names: %v", m)
}

func TestEveryChainChecksBeforeItConnects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		require.NoError(t, checkChains(translated(t, compiled(t, documents().Draw(t, "documents")))))
	})
}
