package faults

import (
	"crypto/tls"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// TestWhoIsRefused: whoever is no gateway gets nothing from the xDS port, whatever
// it says of itself and whatever service it asks; one of another group gets that
// group's.
func TestWhoIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const otherID = "spiffe://" + demo.TrustDomain + "/ns/other/sa/gateway"
	s.write("allow.yaml", fleet.Allow("first", "sleep", "a.example.com"))
	s.write("other.yaml", fleet.GatewayDocument("other", otherID))
	ours := s.gateway("one", whole)
	s.grants(ours, "a.example.com")

	elsewhere, err := ca.Create(t.TempDir(), ca.Options{})
	require.NoError(t, err)
	foreign, err := elsewhere.Issue(ca.Gateway(demo.GatewayID))
	require.NoError(t, err)
	asForeign := fleet.ClientTLS(s.CA.Pool())
	asForeign.Certificates = []tls.Certificate{foreign.TLS()}
	as := func(id string) *tls.Config {
		config, err := s.As(id)
		require.NoError(t, err)
		return config
	}
	ended := func(config *tls.Config) error {
		g, err := fleet.Connect(s.control.XDS().String(), config, fleet.Options{ID: "x", Group: demo.Group})
		if err != nil {
			return err
		}
		defer g.Close()
		select {
		case <-g.Done():
		case <-time.After(patience):
			require.Fail(t, "its stream goes on")
		}
		responses, _ := g.Received()
		require.Zero(t, responses)
		return g.Err()
	}
	for name, tc := range map[string]struct {
		config *tls.Config
		code   codes.Code
	}{
		"plain text":                   {nil, codes.Unavailable},
		"no certificate":               {as(""), codes.Unavailable},
		"of another authority":         {asForeign, codes.Unavailable},
		"of another trust domain":      {as("spiffe://elsewhere.example/ns/istio-system/sa/egressgateway"), codes.Unavailable},
		"a workload":                   {as(demo.WorkloadID("sleep")), codes.PermissionDenied},
		"the control plane itself":     {as(demo.ControlPlaneID), codes.PermissionDenied},
		"a name that begins as a node": {as(demo.GatewayID + "x"), codes.PermissionDenied},
	} {
		require.Equal(t, tc.code, status.Code(ended(tc.config)), name)
	}

	theirs, err := fleet.Connect(s.control.XDS().String(), as(otherID), fleet.Options{ID: "one", Group: demo.Group, Whole: true})
	require.NoError(t, err)
	defer theirs.Close()
	require.NoError(t, theirs.Configured(s.within(patience)))
	shown := s.eventually(patience, "both are there", func(st shownStatus) bool { return len(st.Nodes) == 2 })
	groups := make(map[string]string)
	for _, n := range shown.Nodes {
		groups[n.Identity] = n.ServedGroup + n.Group
	}
	require.Len(t, groups, 2, "%v", shown.Nodes)

	conn, err := fleet.Dial(s.control.XDS().String(), as(demo.GatewayID))
	require.NoError(t, err)
	defer conn.Close()
	for _, method := range []string{
		"/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchAggregatedResources",
		"/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters",
		"/envoy.service.listener.v3.ListenerDiscoveryService/FetchListeners",
		"/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
		"/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
		"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
		"/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.health.v1.Health/Check",
	} {
		err := conn.Invoke(s.within(patience), method, &discovery.DiscoveryRequest{}, new(discovery.DiscoveryResponse))
		require.Equal(t, codes.Unimplemented, status.Code(err), "%s: %v", method, err)
	}
}
