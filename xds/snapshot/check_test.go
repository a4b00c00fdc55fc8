package snapshot_test

import (
	"testing"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// policy replaces the listener policy/a with one that has these chains.
func policy(t *testing.T, r *translate.Resources, matcher *xdsmatcher.Matcher, chains ...*listener.FilterChain) {
	t.Helper()
	l := internal(t, "policy/a", "outside")
	l.FilterChains, l.FilterChainMatcher = chains, matcher
	r.Listeners[1] = versioned(t, l)
}

func chain(t *testing.T, name string) *listener.FilterChain {
	t.Helper()
	return &listener.FilterChain{Name: name, Filters: proxyTo(t, toCluster("outside"))}
}

func TestReferencesThatLeadNowhere(t *testing.T) {
	t.Parallel()
	filter := func(packed *anypb.Any) *listener.FilterChain {
		return &listener.FilterChain{Name: "x", Filters: []*listener.Filter{{
			Name: "x", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed},
		}}}
	}
	tests := map[string]struct {
		breaks func(*testing.T, *translate.Resources)
		want   []string
	}{
		"a cluster is missing": {
			func(_ *testing.T, r *translate.Resources) { r.Clusters = without(r.Clusters, "outside") },
			[]string{`listener policy/a: cluster "outside" does not exist`},
		},
		"several are missing": {
			func(_ *testing.T, r *translate.Resources) {
				r.Clusters = without(without(r.Clusters, "outside"), "policy/a")
				r.Secrets = nil
			},
			[]string{
				`listener entry/mtls: secret "gateway" does not exist`,
				`listener policy/a: cluster "outside" does not exist`,
				`listener route: cluster "policy/a" does not exist`,
			},
		},
		"an internal listener is missing": {
			func(_ *testing.T, r *translate.Resources) { r.Listeners = without(r.Listeners, "policy/a") },
			[]string{`cluster policy/a: listener "policy/a" does not exist`},
		},
		"a listener is not internal": {
			func(t *testing.T, r *translate.Resources) {
				r.Clusters[1] = versioned(t, toListener("policy/a", "entry/mtls"))
			},
			[]string{`cluster policy/a: listener "entry/mtls" is not an internal one`},
		},
		"a weighted cluster is missing": {
			func(t *testing.T, r *translate.Resources) {
				policy(t, r, nil, &listener.FilterChain{Name: "weighted", Filters: proxyTo(t, &tcpproxy.TcpProxy{
					StatPrefix: "x",
					ClusterSpecifier: &tcpproxy.TcpProxy_WeightedClusters{WeightedClusters: &tcpproxy.TcpProxy_WeightedCluster{
						Clusters: []*tcpproxy.TcpProxy_WeightedCluster_ClusterWeight{
							{Name: "outside", Weight: 1}, {Name: "gone", Weight: 1},
						},
					}},
				})})
			},
			[]string{`listener policy/a: cluster "gone" does not exist`},
		},
		"the default chain's cluster is missing": {
			func(t *testing.T, r *translate.Resources) {
				l := internal(t, "policy/a", "outside")
				l.DefaultFilterChain = &listener.FilterChain{Name: "default", Filters: proxyTo(t, toCluster("gone"))}
				r.Listeners[1] = versioned(t, l)
			},
			[]string{`listener policy/a: cluster "gone" does not exist`},
		},
		"a cluster in a route of an HTTP filter is missing": {
			func(t *testing.T, r *translate.Resources) {
				policy(t, r, nil, filter(pack(t, &hcm.HttpConnectionManager{
					StatPrefix: "x",
					RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{
						VirtualHosts: []*route.VirtualHost{{Name: "x", Domains: []string{"*"}, Routes: []*route.Route{
							{Action: &route.Route_Route{Route: &route.RouteAction{
								ClusterSpecifier:      &route.RouteAction_Cluster{Cluster: "gone"},
								RequestMirrorPolicies: []*route.RouteAction_RequestMirrorPolicy{{Cluster: "mirror"}},
							}}},
							{Action: &route.Route_Route{Route: &route.RouteAction{
								ClusterSpecifier: &route.RouteAction_WeightedClusters{WeightedClusters: &route.WeightedCluster{
									Clusters: []*route.WeightedCluster_ClusterWeight{{Name: "weighted"}},
								}},
							}}},
							{Action: &route.Route_Route{Route: &route.RouteAction{
								ClusterSpecifier: &route.RouteAction_ClusterHeader{ClusterHeader: "x-where"},
							}}},
						}}},
					}},
				})))
			},
			[]string{
				`listener policy/a: cluster "gone" does not exist`,
				`listener policy/a: cluster "mirror" does not exist`,
				`listener policy/a: cluster "weighted" does not exist`,
				`listener policy/a: envoy.config.route.v3.RouteAction lets header "x-where" choose the cluster, which cannot be checked`,
			},
		},
		"an access log's cluster is missing": {
			func(t *testing.T, r *translate.Resources) {
				l := internal(t, "policy/a", "outside")
				l.AccessLog = []*accesslog.AccessLog{{Name: "grpc", ConfigType: &accesslog.AccessLog_TypedConfig{
					TypedConfig: pack(t, &grpclog.TcpGrpcAccessLogConfig{CommonConfig: &grpclog.CommonGrpcAccessLogConfig{
						LogName: "x",
						GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
							EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: "logs"},
						}},
					}}),
				}}}
				r.Listeners[1] = versioned(t, l)
			},
			[]string{`listener policy/a: cluster "logs" does not exist`},
		},
		"a packed message of an unknown type": {
			func(t *testing.T, r *translate.Resources) {
				policy(t, r, nil, filter(&anypb.Any{TypeUrl: "type.googleapis.com/nobody.knows.This"}))
			},
			[]string{`listener policy/a: a packed type.googleapis.com/nobody.knows.This cannot be read: `},
		},
		"a packed message that does not parse": {
			func(t *testing.T, r *translate.Resources) {
				packed := pack(t, toCluster("outside"))
				packed.Value = []byte{0xff}
				policy(t, r, nil, filter(packed))
			},
			[]string{`listener policy/a: a packed type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy cannot be read: `},
		},
		"a secret nobody asks for": {
			func(t *testing.T, r *translate.Resources) {
				r.Secrets = append(r.Secrets, versioned(t, &tls.Secret{Name: "spare"}))
			},
			[]string{`secret spare: nothing refers to it`},
		},
		"a secret that is asked of somebody else": {
			func(t *testing.T, r *translate.Resources) {
				l := entry(t, "entry/mtls", "route")
				l.FilterChains[0].TransportSocket = wants(t, "gateway", &core.ConfigSource{
					ConfigSourceSpecifier: &core.ConfigSource_PathConfigSource{PathConfigSource: &core.PathConfigSource{Path: "sds.yaml"}},
				})
				r.Listeners[0] = versioned(t, l)
			},
			[]string{`secret gateway: nothing refers to it`},
		},
		"two chains of one name": {
			func(t *testing.T, r *translate.Resources) { policy(t, r, nil, chain(t, "x"), chain(t, "x")) },
			[]string{`listener policy/a: two filter chains are called "x"`},
		},
		"the matcher names a chain that is not there": {
			func(t *testing.T, r *translate.Resources) {
				inner := byName(t, map[string]*xdsmatcher.Matcher_OnMatch{"p": choose(t, "granted")}, choose(t, "lost"))
				policy(t, r, byName(t, map[string]*xdsmatcher.Matcher_OnMatch{"h": nested(inner)}, choose(t, "refused")),
					chain(t, "granted"), chain(t, "refused"), chain(t, "idle"))
			},
			[]string{
				`listener policy/a: its filter chain matcher chooses chain "lost", which does not exist`,
			},
		},
		"an action that names no chain": {
			func(t *testing.T, r *translate.Resources) {
				action := choose(t, "refused")
				action.GetAction().TypedConfig = pack(t, toCluster("outside"))
				policy(t, r, &xdsmatcher.Matcher{OnNoMatch: action}, chain(t, "refused"))
			},
			[]string{`listener policy/a: action "refused" of its filter chain matcher does not name a chain: `},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, err := snapshot.New(nil, gateway(t))
			require.NoError(t, err)
			for _, prev := range []*snapshot.Snapshot{nil, good} {
				res := gateway(t)
				tt.breaks(t, res)
				s, err := snapshot.New(prev, res)
				require.Nil(t, s)
				var problems snapshot.CheckError
				require.ErrorAs(t, err, &problems)
				require.Len(t, problems.Problems, len(tt.want), err.Error())
				for i, want := range tt.want {
					require.Contains(t, problems.Problems[i], want)
				}
			}
		})
	}
}

func TestMatcherAndChainsAgree(t *testing.T) {
	t.Parallel()
	res := gateway(t)
	first := &xdsmatcher.Matcher{
		MatcherType: &xdsmatcher.Matcher_MatcherList_{MatcherList: &xdsmatcher.Matcher_MatcherList{
			Matchers: []*xdsmatcher.Matcher_MatcherList_FieldMatcher{{OnMatch: choose(t, "wildcard")}},
		}},
		OnNoMatch: choose(t, "refused"),
	}
	policy(t, res, byName(t, map[string]*xdsmatcher.Matcher_OnMatch{"h": choose(t, "granted")}, nested(first)),
		chain(t, "granted"), chain(t, "wildcard"), chain(t, "refused"))
	_, err := snapshot.New(nil, res)
	require.NoError(t, err)
}
