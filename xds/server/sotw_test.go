package server_test

import (
	"fmt"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/xds/translate"
)

func (c *sotwClient) connect(id, group string) {
	c.t.Helper()
	c.send(&discovery.DiscoveryRequest{Node: node(id, group), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DiscoveryRequest{TypeUrl: listeners})
	c.ack(c.expect(listeners))
}

func TestSotwGivesEverything(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.publish("egress", small(t, "1"))
	c := f.sotw()
	c.send(&discovery.DiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	r := c.expect(clusters)
	require.Equal(t, s.GetVersion(clusters), r.GetVersionInfo())
	require.Equal(t, []string{"a", "b"}, sotwNames(t, r))
	c.ack(r)
	c.send(&discovery.DiscoveryRequest{TypeUrl: listeners})
	c.ack(c.expect(listeners))
	f.current("one")

	f.publish("egress", small(t, "2"))
	r = c.expect(listeners)
	require.Equal(t, []string{"in", "other"}, sotwNames(t, r), "all listeners, and no clusters")
	c.ack(r)
	f.current("one")
	require.Equal(t, 1, f.group("egress").Receipts[0].ACKed)
}

// A gateway that rejects everything is sent each version once. What would come
// after a rejection would come before the answer to the request that follows.
func TestSotwRejectsEverything(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "0"))
	c := f.sotw()
	c.send(&discovery.DiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DiscoveryRequest{TypeUrl: listeners})
	const versions = 20
	for i := range versions {
		r := c.expect(listeners)
		require.Equal(t, f.snapshots["egress"].GetVersion(listeners), r.GetVersionInfo())
		c.nack(r, "", "no")
		c.nack(r, "", "no, twice")
		require.Eventually(t, func() bool {
			nack := f.node("one").Types[1].NACK
			return nack != nil && nack.Version == r.GetVersionInfo()
		}, patience, time.Millisecond)
		f.publish("egress", small(t, fmt.Sprint(i+1)))
	}
	r := c.expect(listeners)
	c.ack(r)
	f.current("one")
	require.Len(t, f.logged(logrus.ErrorLevel), versions) // the last is logged a moment after it is known
	require.Empty(t, c.responses, "nothing else came")
}

func TestSotwCorrectedAfterRejection(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	good := f.publish("egress", small(t, "good"))
	c := f.sotw()
	c.connect("one", "egress")
	f.current("one")
	f.publish("egress", small(t, "bad"))
	r := c.expect(listeners)
	c.nack(r, good.GetVersion(listeners), "no")
	require.Eventually(t, func() bool { return f.node("one").Rejecting }, patience, time.Millisecond)

	// Back to what the gateway still has: it is sent, for it was asked to have
	// something else.
	f.publish("egress", small(t, "good"))
	r = c.expect(listeners)
	require.Equal(t, good.GetVersion(listeners), r.GetVersionInfo())
	c.ack(r)
	f.current("one")
	require.False(t, f.node("one").Rejecting)
}

// A gateway that reconnects is sent nothing it has, whether it comes before or
// after the first publication.
func TestSotwReconnect(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("early=%v", early), func(t *testing.T) {
			t.Parallel()
			before := newFleet(t)
			s := before.publish("egress", small(t, "1"))

			f := newFleet(t)
			if !early {
				f.publish("egress", small(t, "1"))
			}
			c := f.sotw()
			c.send(&discovery.DiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters, VersionInfo: s.GetVersion(clusters)})
			c.send(&discovery.DiscoveryRequest{TypeUrl: listeners, VersionInfo: s.GetVersion(listeners)})
			if early {
				require.Eventually(t, func() bool {
					n := f.Status().Nodes
					return len(n) == 1 && len(n[0].Types) == 2
				}, patience, time.Millisecond)
				f.publish("egress", small(t, "1"))
			}
			f.current("one")
			require.Equal(t, s.GetVersion(listeners), f.node("one").Types[1].ACKedVersion)
			require.Zero(t, f.node("one").Types[1].ACKedAt)
			f.publish("egress", small(t, "2"))
			require.Equal(t, f.snapshots["egress"].GetVersion(listeners), c.expect(listeners).GetVersionInfo(), "the first response there is")
		})
	}
}

func TestSotwStaleRequestIsIgnored(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "1"))
	c := f.sotw()
	c.connect("one", "egress")
	f.current("one")
	f.publish("egress", small(t, "2"))
	r := c.expect(listeners)
	c.send(&discovery.DiscoveryRequest{TypeUrl: listeners, ResponseNonce: "2", ResourceNames: []string{"in"}})
	c.ack(r)
	f.current("one")
	f.publish("egress", small(t, "3"))
	require.Equal(t, []string{"in", "other"}, sotwNames(t, c.expect(listeners)), "it still asks for everything")
}

func TestSotwNamedSecrets(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	resources := func(gateway, trust string) *translate.Resources {
		return &translate.Resources{
			Clusters:  []translate.Resource{upstream(t, "a", "")},
			Listeners: []translate.Resource{secured(t, "in", "a", "gateway", "trust")},
			Secrets:   []translate.Resource{secret(t, "gateway", gateway), secret(t, "trust", trust)},
		}
	}
	f.publish("egress", resources("1", "1"))
	c := f.sotw()
	c.connect("one", "egress")
	// Naming one secret only is no reason to withhold it.
	c.send(&discovery.DiscoveryRequest{TypeUrl: secrets, ResourceNames: []string{"gateway"}})
	r := c.expect(secrets)
	require.Equal(t, []string{"gateway"}, sotwNames(t, r))
	c.ack(r, "gateway")
	c.ack(r, "gateway", "trust")
	r = c.expect(secrets)
	require.Equal(t, []string{"gateway", "trust"}, sotwNames(t, r))
	c.ack(r, "gateway", "trust")
	f.current("one")
	f.publish("egress", resources("1", "2"))
	c.ack(c.expect(secrets), "gateway", "trust")
	f.current("one")
}

func TestSotwNamedBeforeItExists(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "1"))
	c := f.sotw()
	c.send(&discovery.DiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters, ResourceNames: []string{"late"}})
	c.send(&discovery.DiscoveryRequest{TypeUrl: listeners})
	c.ack(c.expect(listeners))
	f.current("one")
	res := small(t, "1")
	res.Clusters = append(res.Clusters, upstream(t, "late", ""))
	f.publish("egress", res)
	require.Equal(t, []string{"late"}, sotwNames(t, c.expect(clusters)))
}
