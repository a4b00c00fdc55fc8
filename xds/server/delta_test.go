package server_test

import (
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/xds/server"
	"sallyport/xds/translate"
)

func TestDeltaGivesEverythingThenChanges(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.publish("egress", small(t, "1"))
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	r := c.expect(clusters)
	require.Equal(t, []string{"a", "b"}, deltaNames(r))
	require.Equal(t, s.GetVersion(clusters), r.GetSystemVersionInfo())
	require.Equal(t, s.GetVersionMap(clusters)["a"], r.GetResources()[0].GetVersion())
	c.ack(r)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	r = c.expect(listeners)
	require.Equal(t, []string{"in", "other"}, deltaNames(r))
	c.ack(r)
	f.current("one")

	f.publish("egress", small(t, "2"))
	r = c.expect(listeners)
	require.Equal(t, []string{"in"}, deltaNames(r), "only what changed, and no clusters")
	c.ack(r)
	f.current("one")

	smaller := small(t, "2")
	smaller.Listeners = smaller.Listeners[:1]
	smaller.Clusters = smaller.Clusters[:1]
	f.publish("egress", smaller)
	r = c.expect(listeners)
	require.Empty(t, r.GetResources())
	require.Equal(t, []string{"other"}, r.GetRemovedResources())
	c.ack(r)
	f.current("one")

	smaller.Clusters[0] = upstream(t, "a", "changed")
	f.publish("egress", smaller)
	r = c.expect(clusters)
	require.Equal(t, []string{"a"}, deltaNames(r))
	require.Equal(t, []string{"b"}, r.GetRemovedResources(), "the retired cluster goes with the next change")
	c.ack(r)
	f.current("one")
}

// Replicas that came to the same policy in different ways: one has retired a
// cluster that the other never had. A gateway that goes from one to the other, either
// way, is sent nothing.
func TestDeltaMovesBetweenReplicas(t *testing.T) {
	t.Parallel()
	without := small(t, "1")
	without.Clusters, without.Listeners = without.Clusters[:1], without.Listeners[:1]
	old, fresh := newFleet(t), newFleet(t)
	old.publish("egress", small(t, "1"))
	there := old.delta()
	there.connect("there", "egress")
	was := old.publish("egress", without)
	is := fresh.publish("egress", without)
	require.Equal(t, is.GetVersion(clusters), was.GetVersion(clusters))
	require.NotEqual(t, is.GetVersionMap(clusters), was.GetVersionMap(clusters), "the retired one is still known")
	r := there.expect(listeners)
	require.Equal(t, []string{"other"}, r.GetRemovedResources())
	there.ack(r)
	old.current("there")

	back := old.delta()
	back.connect("back", "egress")
	old.current("back")

	for name, f := range map[string]*fleet{"old": old, "fresh": fresh} {
		for _, has := range []map[string]string{was.GetVersionMap(clusters), is.GetVersionMap(clusters)} {
			c := f.delta()
			c.send(&discovery.DeltaDiscoveryRequest{Node: node("mover", "egress"), TypeUrl: clusters, InitialResourceVersions: has})
			c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, InitialResourceVersions: is.GetVersionMap(listeners)})
			f.current("mover")
			require.Empty(t, c.responses, "%s, with %v", name, has)
			c.cancel()
			require.Error(t, c.ended())
			require.Eventually(t, func() bool {
				for _, n := range f.Status().Nodes {
					if n.ID == "mover" {
						return false
					}
				}
				return true
			}, patience, time.Millisecond)
		}
	}

	// It goes with the next cluster that comes.
	c := fresh.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("mover", "egress"), TypeUrl: clusters, InitialResourceVersions: was.GetVersionMap(clusters)})
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, InitialResourceVersions: is.GetVersionMap(listeners)})
	fresh.current("mover")
	more := small(t, "1")
	more.Clusters[1] = upstream(t, "c", "")
	more.Listeners = more.Listeners[:1]
	fresh.publish("egress", more)
	r = c.expect(clusters)
	require.Equal(t, []string{"c"}, deltaNames(r))
	require.Equal(t, []string{"b"}, r.GetRemovedResources())
}

func TestDeltaReconnectSendsOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.publish("egress", small(t, "1"))
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{
		Node: node("one", "egress"), TypeUrl: clusters, InitialResourceVersions: s.GetVersionMap(clusters),
	})
	// It has all clusters: the first response is about listeners.
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, InitialResourceVersions: map[string]string{
		"in": "old", "other": s.GetVersionMap(listeners)["other"], "gone": "old",
	}})
	r := c.expect(listeners)
	require.Equal(t, []string{"in"}, deltaNames(r))
	require.Equal(t, []string{"gone"}, r.GetRemovedResources())
	c.ack(r)
	f.current("one")
}

func TestDeltaCorrectedAfterRejection(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	good := f.publish("egress", small(t, "good"))
	c := f.delta()
	c.connect("one", "egress")
	f.current("one")

	bad := f.publish("egress", small(t, "bad"))
	r := c.expect(listeners)
	c.nack(r, "no such\nfilter \x1b[31m\n")
	require.Eventually(t, func() bool { return f.node("one").Rejecting }, patience, time.Millisecond)
	n := f.node("one")
	require.False(t, n.Current)
	nack := n.Types[1].NACK
	require.Equal(t, "listener", n.Types[1].Type)
	require.Equal(t, bad.GetVersion(listeners), nack.Version)
	require.Equal(t, `no such\u000afilter \u001b[31m`, nack.Message)
	require.Equal(t, []string{"in"}, nack.Resources)
	require.Equal(t, good.GetVersion(listeners), n.Types[1].ACKedVersion)
	require.Equal(t, 1, f.group("egress").Rejecting)
	require.Len(t, f.logged(logrus.ErrorLevel), 1)

	// A change of something else does not bring the rejected resource again.
	other := small(t, "bad")
	other.Clusters[1] = upstream(t, "b", "changed")
	f.publish("egress", other)
	c.ack(c.expect(clusters))
	require.Eventually(t, func() bool { return f.node("one").Types[0].ACKedVersion != good.GetVersion(clusters) }, patience, time.Millisecond)

	f.publish("egress", small(t, "corrected"))
	c.ack(c.expect(clusters))
	r = c.expect(listeners)
	require.Equal(t, []string{"in"}, deltaNames(r))
	c.ack(r)
	f.current("one")
	require.NotNil(t, f.node("one").Types[1].NACK, "the last rejection stays visible")
	require.Zero(t, f.group("egress").Rejecting)

	receipts := f.group("egress").Receipts
	require.Len(t, receipts, 4)
	require.Equal(t, []int{1, 0, 0, 1}, []int{receipts[0].ACKed, receipts[1].ACKed, receipts[2].ACKed, receipts[3].ACKed})
	require.Equal(t, 1, receipts[2].NACKed)
}

// Clusters reach a gateway before the listeners that use them, also when it has
// not answered for earlier ones yet.
func TestDeltaListenersWaitForClusters(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "1"))
	c := f.delta()
	c.connect("one", "egress")
	f.current("one")

	res := small(t, "1")
	res.Clusters = append(res.Clusters, upstream(t, "c", ""))
	f.publish("egress", res)
	unanswered := c.expect(clusters)
	require.Equal(t, []string{"c"}, deltaNames(unanswered))

	res = small(t, "1")
	res.Clusters = append(res.Clusters, upstream(t, "c", ""), upstream(t, "d", ""))
	res.Listeners = append(res.Listeners, entry(t, "new", "", "d"))
	f.publish("egress", res)
	c.ack(unanswered)
	r := c.expect(clusters)
	require.Equal(t, []string{"d"}, deltaNames(r))
	require.Equal(t, []string{"new"}, deltaNames(c.expect(listeners)), "it follows at once, without waiting for the ACK")
}

func TestDeltaLatestStateAfterSilence(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "0"))
	c := f.delta()
	c.connect("one", "egress")
	f.current("one")
	f.publish("egress", small(t, "1"))
	unanswered := c.expect(listeners)
	for _, content := range []string{"2", "3", "4"} {
		f.publish("egress", small(t, content))
	}
	c.ack(unanswered)
	r := c.expect(listeners)
	require.Equal(t, f.snapshots["egress"].GetVersion(listeners), r.GetSystemVersionInfo(), "not every version in between")
	c.ack(r)
	f.current("one")
}

// TestDeltaSecretsOfClustersThatWait: Envoy acknowledges clusters when they are ready,
// and one with a secret is when it has that. If another generation is published before
// it asks for the secret, it must be given it all the same.
func TestDeltaSecretsOfClustersThatWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	resources := func(content string) *translate.Resources {
		return &translate.Resources{
			Clusters:  []translate.Resource{upstream(t, "a", content)},
			Listeners: []translate.Resource{secured(t, "in", "a", "gateway", "trust")},
			Secrets:   []translate.Resource{secret(t, "gateway", ""), secret(t, "trust", "")},
		}
	}
	f.publish("egress", resources("1"))
	c := f.delta()
	c.connect("one", "egress")
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"gateway"}})
	c.ack(c.expect(secrets))
	f.current("one")

	f.publish("egress", resources("2"))
	waiting := c.expect(clusters)
	f.publish("egress", resources("3"))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"trust"}})
	r := c.expect(secrets)
	require.Equal(t, []string{"trust"}, deltaNames(r))
	c.ack(r)
	c.ack(waiting)
	r = c.expect(clusters)
	require.Equal(t, []string{"a"}, deltaNames(r))
	c.ack(r)
	f.current("one")
}

func TestDeltaNamedSecrets(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	resources := func(trust string) *translate.Resources {
		return &translate.Resources{
			Clusters:  []translate.Resource{upstream(t, "a", "")},
			Listeners: []translate.Resource{secured(t, "in", "a", "extra", "gateway", "trust")},
			Secrets:   []translate.Resource{secret(t, "extra", ""), secret(t, "gateway", ""), secret(t, "trust", trust)},
		}
	}
	f.publish("egress", resources("1"))
	c := f.delta()
	c.connect("one", "egress")
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"gateway"}})
	r := c.expect(secrets)
	require.Equal(t, []string{"gateway"}, deltaNames(r))
	c.ack(r)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"trust"}})
	r = c.expect(secrets)
	require.Equal(t, []string{"trust"}, deltaNames(r))
	c.ack(r)
	f.current("one")

	f.publish("egress", resources("2"))
	r = c.expect(secrets)
	require.Equal(t, []string{"trust"}, deltaNames(r))
	c.ack(r)
	f.current("one")

	c.send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: secrets, ResourceNamesUnsubscribe: []string{"trust"}, ResourceNamesSubscribe: []string{"extra"},
	})
	r = c.expect(secrets)
	require.Equal(t, []string{"extra"}, deltaNames(r))
	c.ack(r)
	f.publish("egress", resources("3"))
	f.current("one")
	f.publish("egress", small(t, ""))
	require.Equal(t, []string{"b"}, deltaNames(c.expect(clusters)))
	require.ElementsMatch(t, []string{"extra", "gateway"}, c.expect(secrets).GetRemovedResources(), "what is not subscribed is not mentioned")
}

// A set too large for one response arrives in parts, each after the ACK of the
// one before, and the gateway is current with the last.
func TestDeltaParts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	res := &translate.Resources{Clusters: []translate.Resource{upstream(t, "a", "")}}
	padding := strings.Repeat("x", server.PartSize/2-1000)
	for _, name := range []string{"1", "2", "3", "4", "5"} {
		res.Listeners = append(res.Listeners, entry(t, name, padding, "a"))
	}
	f.publish("egress", res)
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	for _, want := range [][]string{{"1", "2"}, {"3", "4"}, {"5"}} {
		require.False(t, f.node("one").Current)
		r := c.expect(listeners)
		require.Equal(t, want, deltaNames(r))
		c.ack(r)
	}
	f.current("one")
}

func TestDeltaPartRejected(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	padding := strings.Repeat("x", server.PartSize-1000)
	f.publish("egress", &translate.Resources{
		Clusters:  []translate.Resource{upstream(t, "a", "")},
		Listeners: []translate.Resource{entry(t, "1", padding, "a"), entry(t, "2", padding, "a")},
	})
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	c.nack(c.expect(listeners), "no")
	r := c.expect(listeners)
	require.Equal(t, []string{"2"}, deltaNames(r))
	c.ack(r)
	require.Eventually(t, func() bool { return f.group("egress").Receipts[0].NACKed == 1 }, patience, time.Millisecond)
	require.True(t, f.node("one").Rejecting)
	require.False(t, f.node("one").Current, "a part of it was rejected")
}

// A secret that a gateway rejects costs it no other: Envoy stops at the first one of
// a response that it does not like, so each comes in a response of its own.
func TestDeltaSecretsOneByOne(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	res := small(t, "1")
	res.Listeners = append(res.Listeners, secured(t, "tls", "a", "own", "trust"))
	res.Secrets = []translate.Resource{secret(t, "own", "1"), secret(t, "trust", "1")}
	f.publish("egress", res)
	c := f.delta()
	c.connect("one", "egress")
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"own", "trust"}})
	first := c.expect(secrets)
	require.Equal(t, []string{"own"}, deltaNames(first))
	c.nack(first, "it cannot be read")
	second := c.expect(secrets)
	require.Equal(t, []string{"trust"}, deltaNames(second))
	c.ack(second)
	require.Eventually(t, func() bool { return f.node("one").Rejecting }, patience, time.Millisecond, "what it rejected is not forgotten")

	corrected := small(t, "1")
	corrected.Listeners = res.Listeners
	corrected.Secrets = []translate.Resource{secret(t, "own", "2"), secret(t, "trust", "1")}
	f.publish("egress", corrected)
	third := c.expect(secrets)
	require.Equal(t, []string{"own"}, deltaNames(third))
	c.ack(third)
	f.current("one")
}

// What one gateway does to its subscription is nothing to others that have the
// same, although they share what is remembered of that.
func TestDeltaStatesAreApart(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "1"))
	odd, plain := f.delta(), f.delta()
	for id, c := range map[string]*deltaClient{"odd": odd, "plain": plain} {
		c.connect(id, "egress")
		f.current(id)
	}
	// It asks for everything, and for one by name, and then no longer for that: the
	// protocol has it sent again.
	odd.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, ResourceNamesSubscribe: []string{"*", "in"}})
	odd.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, ResourceNamesUnsubscribe: []string{"in"}})
	r := odd.expect(listeners)
	require.Equal(t, []string{"in"}, deltaNames(r))
	odd.ack(r)
	f.publish("egress", small(t, "2"))
	for id, c := range map[string]*deltaClient{"odd": odd, "plain": plain} {
		r := c.expect(listeners)
		require.Equal(t, []string{"in"}, deltaNames(r), id)
		c.ack(r)
		f.current(id)
	}
	// From everything to one.
	odd.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, ResourceNamesSubscribe: []string{"other"}})
	odd.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners, ResourceNamesUnsubscribe: []string{"*"}})
	odd.send(&discovery.DeltaDiscoveryRequest{TypeUrl: secrets, ResourceNamesSubscribe: []string{"none"}}) // once this is seen, so were those
	require.Eventually(t, func() bool { return len(f.node("odd").Types) == 3 }, patience, time.Millisecond)
	res := small(t, "3")
	res.Listeners[1] = entry(t, "other", "3", "b")
	f.publish("egress", res)
	r = odd.expect(listeners)
	require.Equal(t, []string{"other"}, deltaNames(r))
	odd.ack(r)
	r = plain.expect(listeners)
	require.Equal(t, []string{"in", "other"}, deltaNames(r))
	plain.ack(r)
	f.current("plain")
}
