package reader

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	upstreamip "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// rbacFilter enforces policies on the first bytes of a connection.
type rbacFilter struct {
	// enforces is false if rules are absent: then the filter does nothing.
	enforces bool
	deny     bool
	// policies in the order of their names, which is the order in which Envoy
	// tries them (it keeps them in a std::map).
	policies []rbacPolicy
}

type rbacPolicy struct {
	name        string
	permissions []predicate
	principals  []predicate
}

// noPolicy is what Envoy reports if no policy matched.
const noPolicy = "none"

// refuses reports whether the filter closes the connection, and the policy that
// Envoy names as the reason.
func (f *rbacFilter) refuses(c *connection) (policy string, refused bool) {
	if !f.enforces {
		return "", false
	}
	for _, p := range f.policies {
		if anyOf(p.permissions, c) && anyOf(p.principals, c) {
			return p.name, f.deny
		}
	}
	return noPolicy, !f.deny
}

func anyOf(all []predicate, c *connection) bool {
	for _, p := range all {
		if p(c) {
			return true
		}
	}
	return false
}

func allOf(all []predicate, c *connection) bool {
	for _, p := range all {
		if !p(c) {
			return false
		}
	}
	return true
}

func (r *parser) rbac(m *rbacfilter.RBAC) (*rbacFilter, error) {
	if err := only(m, "stat_prefix", "rules"); err != nil {
		return nil, err
	}
	return r.rules(m.GetRules())
}

// httpRBAC reads the HTTP filter, which also knows headers.
func (r *parser) httpRBAC(m *httprbac.RBAC) (*rbacFilter, error) {
	if err := only(m, "rules"); err != nil {
		return nil, err
	}
	r.http = true
	defer func() { r.http = false }()
	return r.rules(m.GetRules())
}

func (r *parser) rules(rules *rbac.RBAC) (*rbacFilter, error) {
	if rules == nil {
		return &rbacFilter{}, nil
	}
	if err := only(rules, "action", "policies"); err != nil {
		return nil, err
	}
	f := &rbacFilter{enforces: true}
	switch rules.GetAction() {
	case rbac.RBAC_ALLOW:
	case rbac.RBAC_DENY:
		f.deny = true
	default:
		return nil, fmt.Errorf("unknown RBAC action %v", rules.GetAction())
	}
	for _, name := range slices.Sorted(maps.Keys(rules.GetPolicies())) {
		p, err := r.rbacPolicy(rules.GetPolicies()[name])
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		p.name = name
		f.policies = append(f.policies, p)
	}
	return f, nil
}

func (r *parser) rbacPolicy(m *rbac.Policy) (p rbacPolicy, err error) {
	if err := only(m, "permissions", "principals"); err != nil {
		return p, err
	}
	if len(m.GetPermissions()) == 0 || len(m.GetPrincipals()) == 0 {
		return p, errors.New("permissions or principals are empty: Envoy refuses it")
	}
	if p.permissions, err = r.permissions(m.GetPermissions()); err != nil {
		return p, err
	}
	p.principals, err = r.principals(m.GetPrincipals())
	return p, err
}

func (r *parser) principals(all []*rbac.Principal) ([]predicate, error) {
	var out []predicate
	for _, m := range all {
		p, err := r.principal(m)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *parser) principalSet(m *rbac.Principal_Set) ([]predicate, error) {
	if err := only(m, "ids"); err != nil {
		return nil, err
	}
	if len(m.GetIds()) == 0 {
		return nil, errors.New("a set of principals is empty: Envoy refuses it")
	}
	return r.principals(m.GetIds())
}

func (r *parser) permissions(all []*rbac.Permission) ([]predicate, error) {
	var out []predicate
	for _, m := range all {
		p, err := r.permission(m)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *parser) permission(m *rbac.Permission) (predicate, error) {
	if err := only(m, "and_rules", "or_rules", "any", "not_rule", "requested_server_name", "matcher", "header"); err != nil {
		return nil, err
	}
	switch p := m.GetRule().(type) {
	case *rbac.Permission_Any:
		if !p.Any {
			return nil, errors.New("any must be true: Envoy refuses it otherwise")
		}
		return func(*connection) bool { return true }, nil
	case *rbac.Permission_AndRules:
		all, err := r.permissionSet(p.AndRules)
		return func(c *connection) bool { return allOf(all, c) }, err
	case *rbac.Permission_OrRules:
		all, err := r.permissionSet(p.OrRules)
		return func(c *connection) bool { return anyOf(all, c) }, err
	case *rbac.Permission_NotRule:
		inner, err := r.permission(p.NotRule)
		return func(c *connection) bool { return !inner(c) }, err
	case *rbac.Permission_RequestedServerName:
		match, err := r.stringMatcher(p.RequestedServerName)
		// Without a server name Envoy compares the empty string.
		return func(c *connection) bool { return match(c.serverName) }, err
	case *rbac.Permission_Header:
		return r.header(p.Header)
	case *rbac.Permission_Matcher:
		return r.upstreamAddress(p.Matcher)
	default:
		return nil, fmt.Errorf("unknown permission %T", p)
	}
}

// header is a condition on what a request is for. Envoy lets such conditions
// stand in a network filter, where no request has a header.
func (r *parser) header(m *routes.HeaderMatcher) (predicate, error) {
	if !r.http {
		return nil, errors.New("a condition on headers where there are none")
	}
	if err := only(m, "name", "string_match"); err != nil {
		return nil, err
	}
	match, err := r.stringMatcher(m.GetStringMatch())
	if err != nil {
		return nil, err
	}
	switch m.GetName() {
	case ":authority":
		return func(c *connection) bool { return match(c.request.authority) }, nil
	case ":method":
		return func(c *connection) bool { return match(c.request.method) }, nil
	default:
		return nil, fmt.Errorf("a condition on the header %s: the reader does not know it", m.GetName())
	}
}

func (r *parser) permissionSet(m *rbac.Permission_Set) ([]predicate, error) {
	if err := only(m, "rules"); err != nil {
		return nil, err
	}
	if len(m.GetRules()) == 0 {
		return nil, errors.New("a set of permissions is empty: Envoy refuses it")
	}
	return r.permissions(m.GetRules())
}

// upstreamAddress is a condition on the address that
// sni_dynamic_forward_proxy saved. Without one, it does not hold.
func (r *parser) upstreamAddress(config *core.TypedExtensionConfig) (predicate, error) {
	if err := only(config, "name", "typed_config"); err != nil {
		return nil, err
	}
	m, err := unpack(config.GetTypedConfig(), &upstreamip.UpstreamIpPortMatcher{})
	if err != nil {
		return nil, err
	}
	if err := only(m, "upstream_ip"); err != nil {
		return nil, err
	}
	if m.GetUpstreamIp() == nil {
		return nil, errors.New("an upstream address matcher without an address: Envoy refuses it")
	}
	of, err := coreRange(m.GetUpstreamIp())
	if err != nil {
		return nil, err
	}
	return func(c *connection) bool { return c.upstream != (netip.Addr{}) && of.Contains(c.upstream) }, nil
}

func (r *parser) principal(m *rbac.Principal) (predicate, error) {
	if err := only(m, "any", "filter_state", "and_ids", "or_ids", "not_id"); err != nil {
		return nil, err
	}
	switch p := m.GetIdentifier().(type) {
	case *rbac.Principal_Any:
		if !p.Any {
			return nil, errors.New("any must be true: Envoy refuses it otherwise")
		}
		return func(*connection) bool { return true }, nil
	case *rbac.Principal_AndIds:
		all, err := r.principalSet(p.AndIds)
		return func(c *connection) bool { return allOf(all, c) }, err
	case *rbac.Principal_OrIds:
		all, err := r.principalSet(p.OrIds)
		return func(c *connection) bool { return anyOf(all, c) }, err
	case *rbac.Principal_NotId:
		inner, err := r.principal(p.NotId)
		return func(c *connection) bool { return !inner(c) }, err
	case *rbac.Principal_FilterState:
		return r.filterStateMatcher(p.FilterState)
	default:
		return nil, fmt.Errorf("unknown principal %T", p)
	}
}

func (r *parser) filterStateMatcher(m *matcher.FilterStateMatcher) (predicate, error) {
	if err := only(m, "key", "string_match"); err != nil {
		return nil, err
	}
	match, err := r.stringMatcher(m.GetStringMatch())
	key := m.GetKey()
	return func(c *connection) bool {
		v, ok := c.state[key]
		return ok && match(v.value)
	}, err
}
