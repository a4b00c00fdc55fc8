package server_test

import (
	"context"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sallyport/xds/server"
)

func TestCertificateDue(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return time.Unix(1_800_000_000, 0).Add(d) }
	require.Equal(t, at(40*time.Minute), server.CertificateDue(at(0), at(time.Hour)), "with a third of its life to go")
	require.Equal(t, at(89*24*time.Hour), server.CertificateDue(at(0), at(90*24*time.Hour)), "but a day at the most")
}

// lasts opens a stream, waits until it has its group's clusters, and returns when it
// ends.
func (g *guarded) lasts(conn *grpc.ClientConn) time.Time {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	str, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	require.NoError(g.t, err)
	require.NoError(g.t, str.Send(&discovery.DeltaDiscoveryRequest{Node: node("gw", "east"), TypeUrl: clusters}))
	r, err := str.Recv()
	require.NoError(g.t, err)
	require.NoError(g.t, str.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusters, ResponseNonce: r.GetNonce()}))
	_, err = str.Recv()
	require.Error(g.t, err)
	require.NoError(g.t, ctx.Err())
	return time.Now()
}

// TestConnectionsEndWithTheirCertificates: once when it is due to be replaced, so that
// a gateway with a newer one shows that; and at its end. Who comes back with the same
// one is warned about, once.
func TestConnectionsEndWithTheirCertificates(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	warnings := func() int { return len(g.logged(logrus.WarnLevel)) }
	between := func(from, at, until time.Time) {
		t.Helper()
		require.WithinRange(t, at, from.Add(-100*time.Millisecond), until.Add(time.Second))
	}

	// It began a minute ago (ca.backdate), lives for 93 s, and is due in 2.
	conn, replaced := g.withCertificate(eastID, 33*time.Second)
	due := server.CertificateDue(replaced.NotBefore, replaced.NotAfter)
	require.Less(t, time.Until(due), 3*time.Second)
	spread := replaced.NotAfter.Sub(due) / 10
	between(due, g.lasts(conn), due.Add(spread))
	require.Zero(t, warnings(), "it may have a newer one")

	// This one is due as it comes.
	conn, overdue := g.withCertificate(eastID, 4*time.Second)
	between(overdue.NotAfter, g.lasts(conn), overdue.NotAfter)
	require.Equal(t, 1, warnings())

	conn, _ = g.withCertificate(eastID, 3*time.Second)
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		str, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		require.NoError(t, err)
		require.NoError(t, str.Send(&discovery.DeltaDiscoveryRequest{Node: node("gw", "east"), TypeUrl: clusters}))
		_, err = str.Recv()
		require.NoError(t, err)
		n := g.node("gw")
		require.True(t, n.CertificateDue)
		require.NotZero(t, n.CertificateExpires)
		cancel()
		require.Eventually(t, func() bool { return len(g.Status().Nodes) == 0 }, patience, time.Millisecond)
	}
	require.Equal(t, 2, warnings(), "once a certificate")
}
