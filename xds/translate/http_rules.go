package translate

import (
	"maps"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// virtualHost is what is said of an entry's host, or of one that nothing knows:
// who may ask for it, and where requests go.
func (c *common) virtualHost(e *model.Entry) *route.VirtualHost {
	if e == nil && c.gateway.AuditOnly {
		e = anyHost()
	}
	if e == nil {
		return &route.VirtualHost{
			Routes: []*route.Route{c.tunnel(refusedCluster), c.plain(refusedCluster)},
			TypedPerFilterConfig: map[string]*anypb.Any{
				denyFilter: c.pack(perRoute(denying(map[string]*rbac.Policy{string(model.NotRegistered): toEveryone()}))),
			},
		}
	}
	plain := refusedCluster
	if e.Dial.Originate != nil {
		plain = c.originateName(e.Dial.Originate)
	}
	// Names in an RBAC filter are tried in their order, and the first that
	// matches is reported: host-not-exported comes before ns[…, as in the verdict.
	denied := c.requestRules(e, model.Deny)
	if exports := e.ExportMatches(c.gateway.TrustDomain); e.ExportTo != nil {
		denied[string(model.NotExported)] = but(exports)
	}
	allowed := c.requestRules(e, model.Allow)
	reason := model.NoAllowRule
	if !c.gateway.HasAllowPolicy {
		reason = model.DefaultAction
		if c.gateway.DefaultAction == model.Allow {
			allowed[defaultGrantName] = toEveryone()
		}
	}
	if c.gateway.AuditOnly {
		maps.DeleteFunc(denied, func(name string, _ *rbac.Policy) bool { return name != string(model.NotExported) })
		allowed[auditGrantName] = toEveryone()
	}
	filters := map[string]*anypb.Any{
		denyFilter: c.pack(perRoute(denying(denied))), allowFilter: c.pack(perRoute(allowing(allowed))),
	}
	if e.Dial.Port != httpsPort || e.Dial.Originate != nil {
		filters[wayFilter] = c.pack(perRoute(denying(wrongWay(e.Dial.Port, e.Dial.Originate != nil))))
	}
	return &route.VirtualHost{
		Routes: []*route.Route{c.tunnel(routeName), c.plain(plain)},
		Metadata: &core.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataSpace: {
			Fields: map[string]*structpb.Value{otherwiseKey: structpb.NewStringValue(string(reason))},
		}}},
		TypedPerFilterConfig: filters,
	}
}

func perRoute(r *httprbac.RBAC) *httprbac.RBACPerRoute { return &httprbac.RBACPerRoute{Rbac: r} }

// requestRules are the rules of one action about requests for the entry's host.
// All of them cover it, so only who asks is left to be looked at.
func (c *common) requestRules(e *model.Entry, action model.Verdict) map[string]*rbac.Policy {
	out := make(map[string]*rbac.Policy)
	for _, r := range e.Rules {
		if r.Action != action || !r.Via.Has(model.ViaHTTP) {
			continue
		}
		whom := rulePrincipals(r)
		if len(whom) == 0 {
			continue
		}
		if known := out[r.ID.String()]; known != nil {
			known.Principals = append(known.Principals, whom...)
			continue
		}
		out[r.ID.String()] = &rbac.Policy{
			Permissions: []*rbac.Permission{{Rule: &rbac.Permission_Any{Any: true}}}, Principals: whom,
		}
	}
	return out
}

// but is everyone else.
func but(matches []model.PrincipalMatch) *rbac.Policy {
	out := toEveryone()
	if len(matches) > 0 {
		out.Principals = []*rbac.Principal{{Identifier: &rbac.Principal_NotId{NotId: anyOfPrincipals(principals(matches))}}}
	}
	return out
}

func anyOfPrincipals(all []*rbac.Principal) *rbac.Principal {
	if len(all) == 1 {
		return all[0]
	}
	return &rbac.Principal{Identifier: &rbac.Principal_OrIds{OrIds: &rbac.Principal_Set{Ids: all}}}
}

// wrongWay are the requests that go nowhere, whoever makes them: those that name
// a wrong port, and plain ones for a host to which no TLS is originated. A
// tunnel must be for port 443 or the destination's own, any other request for
// none or 80. The authority is HOST or HOST:PORT, which was checked before.
func wrongWay(dial uint16, originated bool) map[string]*rbac.Policy {
	tunnels := []*rbac.Permission{authority(likeSuffix(":" + strconv.Itoa(httpsPort)))}
	if dial != httpsPort {
		tunnels = append(tunnels, authority(likeSuffix(":"+strconv.Itoa(int(dial)))))
	}
	out := map[string]*rbac.Policy{string(model.PortNotAllowed): {
		Permissions: []*rbac.Permission{
			allPermissions(isConnect(), notPermission(anyPermission(tunnels...))),
			allPermissions(notPermission(isConnect()), notPermission(authority(likeRegex(`[^:]*(:80)?`)))),
		},
		Principals: []*rbac.Principal{anyPrincipal()},
	}}
	if !originated {
		out[string(model.NotOriginated)] = &rbac.Policy{
			Permissions: []*rbac.Permission{notPermission(isConnect())}, Principals: []*rbac.Principal{anyPrincipal()},
		}
	}
	return out
}

// tunnel is the route of CONNECT: on to the next stage, as a connection of the
// MutualTLS entry goes, with an identifier of its own.
func (b *builder) tunnel(cluster string) *route.Route {
	return &route.Route{
		Name:  "tunnel",
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_ConnectMatcher_{ConnectMatcher: &route.RouteMatch_ConnectMatcher{}}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: cluster},
			Timeout:          durationpb.New(0),
			UpgradeConfigs: []*route.RouteAction_UpgradeConfig{{
				UpgradeType: "CONNECT", Enabled: wrapperspb.Bool(true), ConnectConfig: &route.RouteAction_UpgradeConfig_ConnectConfig{},
			}},
		}},
		TypedPerFilterConfig: b.withFilter(tunnelFilter),
	}
}

// plain is the route of every other request: on to the host, over TLS.
func (b *builder) plain(cluster string) *route.Route {
	return &route.Route{
		Name:  "plain",
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier:     &route.RouteAction_Cluster{Cluster: cluster},
			Timeout:              durationpb.New(0), // the limits of the listener apply
			HostRewriteSpecifier: &route.RouteAction_HostRewrite{HostRewrite: "%DYNAMIC_METADATA(" + metadataSpace + ":host)%"},
		}},
		TypedPerFilterConfig: b.withFilter(sharedFilter),
	}
}
