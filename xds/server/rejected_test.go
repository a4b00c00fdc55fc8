package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

// recorder is what a group is asked about rejections.
type recorder struct {
	mu     sync.Mutex
	asked  []server.Rejection
	answer []server.Cause
}

func (r *recorder) causes(rejection server.Rejection) []server.Cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, rejection)
	return r.answer
}

func (r *recorder) last(t testing.TB) server.Rejection {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(t, r.asked)
	return r.asked[len(r.asked)-1]
}

// several are listeners of one cluster.
func several(t testing.TB, content string, names ...string) *translate.Resources {
	t.Helper()
	res := &translate.Resources{Clusters: []translate.Resource{upstream(t, "a", "")}}
	for _, name := range names {
		res.Listeners = append(res.Listeners, entry(t, name, content, "a"))
	}
	return res
}

func (f *fleet) rejects(id string) bool {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		n := f.node(id)
		return n.Rejecting || n.Current
	}, patience, time.Millisecond)
	return f.node(id).Rejecting
}

func TestCausesOfARejection(t *testing.T) {
	t.Parallel()
	place := diag.Position{File: "team.yaml", Line: 12, Column: 5}
	r := &recorder{answer: []server.Cause{{Resource: "policy/17", Position: place, What: "rule x"}, {What: "somewhere"}}}
	f := newFleet(t)
	f.causes = r.causes
	f.publish("egress", several(t, "1", "policy/1", "policy/17", "policy/2"))
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	c.nack(c.expect(listeners), "Error adding/updating listener(s) policy/17: no good\npolicy/2: neither\n")
	require.True(t, f.rejects("one"))

	require.Equal(t, server.Rejection{Type: "listener", Resources: []server.RejectedResource{
		{Name: "policy/17", Reason: "policy/17: no good\n"}, {Name: "policy/2", Reason: "policy/2: neither\n"},
	}}, r.last(t))
	nack := f.node("one").Types[1].NACK
	require.Equal(t, r.answer, nack.Causes)
	require.Equal(t, uint64(1), nack.Generation)
	require.Zero(t, nack.MoreCauses)
	for _, e := range f.logs.AllEntries() {
		if e.Level == logrus.ErrorLevel {
			require.Equal(t, []string{"team.yaml:12:5: rule x", "somewhere"}, e.Data["causes"])
			require.Equal(t, uint64(1), e.Data["generation"])
		}
	}

	// Many causes are a few, and how many more there are.
	r.answer = make([]server.Cause, 25)
	f.publish("egress", several(t, "2", "policy/1"))
	c.nack(c.expect(listeners), strings.Repeat("x", 1<<20))
	require.Eventually(t, func() bool { return f.node("one").Types[1].NACK.Generation == 2 }, patience, time.Millisecond)
	nack = f.node("one").Types[1].NACK
	require.Len(t, nack.Causes, 10)
	require.Equal(t, 15, nack.MoreCauses)
	require.Equal(t, "policy/1", r.last(t).Resources[0].Name, "there was only one")
	require.Less(t, len(r.last(t).Resources[0].Reason), 20_000)
}

// What was rejected stays rejected while it is served, whatever else the gateway
// accepts: an edit of something else does not put it in force.
func TestRejectedStaysRejected(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]string{
		"named":     "Error adding/updating listener(s) in: no good",
		"not named": "no good",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.publish("egress", several(t, "good", "in", "other", "third"))
			c := f.delta()
			c.connect("one", "egress")
			f.current("one")

			bad := several(t, "bad", "in", "other", "third")
			bad.Listeners[2] = entry(t, "third", "good", "a")
			f.publish("egress", bad)
			r := c.expect(listeners)
			require.Equal(t, []string{"in", "other"}, deltaNames(r))
			c.nack(r, message)
			require.True(t, f.rejects("one"))

			still := several(t, "bad", "in", "other", "third")
			f.publish("egress", still)
			r = c.expect(listeners)
			require.Equal(t, []string{"third"}, deltaNames(r))
			c.ack(r)
			require.Eventually(t, func() bool { return f.group("egress").Receipts[0].NACKed == 1 }, patience, time.Millisecond)
			n := f.node("one")
			require.True(t, n.Rejecting)
			require.False(t, n.Current)
			require.Equal(t, uint64(1), n.Generation)
			require.Equal(t, 2, n.Behind)
			require.Equal(t, uint64(2), n.Types[1].NACK.Generation)

			// Mended; the one beside it is as it was sent.
			mended := several(t, "bad", "in", "other", "third")
			mended.Listeners[0] = entry(t, "in", "mended", "a")
			f.publish("egress", mended)
			r = c.expect(listeners)
			require.Equal(t, []string{"in"}, deltaNames(r))
			c.ack(r)
			f.current("one")
			require.Equal(t, uint64(4), f.node("one").Generation)
			require.Zero(t, f.node("one").Behind)
			require.Zero(t, f.node("one").BehindMillis)
		})
	}
}

// The same content once more is asked about once more.
func TestRejectedAndTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", several(t, "good", "in"))
	c := f.sotw()
	c.connect("one", "egress")
	f.current("one")
	for range 2 {
		f.publish("egress", several(t, "bad", "in"))
		c.nack(c.expect(listeners), "", "no good")
		require.True(t, f.rejects("one"))
		f.publish("egress", several(t, "good", "in"))
		c.ack(c.expect(listeners))
		f.current("one")
	}
	f.publish("egress", several(t, "bad", "in"))
	r := c.expect(listeners)
	require.False(t, f.node("one").Rejecting, "it has not answered yet")
	c.ack(r)
	f.current("one")
}

// A gateway that rejects ever new resources is remembered for those that are there.
func TestRejectedAndTakenAway(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"no good: odd", "no good"} {
		f := newFleet(t)
		f.publish("egress", several(t, "good", "in"))
		c := f.delta()
		c.connect("one", "egress")
		f.current("one")
		f.publish("egress", several(t, "good", "in", "odd", "odder"))
		c.nack(c.expect(listeners), message)
		require.True(t, f.rejects("one"))
		f.publish("egress", several(t, "good", "in"))
		c.ack(c.expect(listeners))
		f.current("one")
		f.publish("egress", several(t, "good", "in", "odd", "odder"))
		r := c.expect(listeners)
		require.False(t, f.node("one").Rejecting, "it is asked anew")
		c.ack(r)
		f.current("one")
	}
}

func TestRejectedWithoutAnExplanation(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", several(t, "bad", "in"))
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	c.nack(c.expect(listeners), "")
	require.True(t, f.rejects("one"))
	require.Empty(t, f.node("one").Types[1].NACK.Causes)
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		names   []string
		message string
		certain bool
		want    []server.RejectedResource
	}{
		{[]string{"a"}, "it is bad", true, []server.RejectedResource{{Name: "a", Reason: "it is bad"}}},
		{[]string{"a", "b"}, "it is bad", false, []server.RejectedResource{{Name: "a", Reason: "it is bad"}, {Name: "b", Reason: "it is bad"}}},
		{
			[]string{"policy/1", "policy/17", "policy/7"}, "x policy/17, policy/7: y; again policy/17.", true,
			[]server.RejectedResource{{Name: "policy/17", Reason: "policy/17, policy/17."}, {Name: "policy/7", Reason: "policy/7: y; again "}},
		},
		{[]string{"", "in"}, "it is within", false, []server.RejectedResource{{Name: "", Reason: "it is within"}, {Name: "in", Reason: "it is within"}}},
		{[]string{"in", "out"}, "within, in", true, []server.RejectedResource{{Name: "in", Reason: "in"}}},
	} {
		got, certain := server.Reasons(tt.names, tt.message)
		require.Equal(t, tt.certain, certain, tt.message)
		require.Equal(t, tt.want, got, tt.message)
	}
}

// Each gateway has receipts of its own, a few of them, and how far it is behind;
// nothing of that is left when it has gone.
func TestNodeReceipts(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFleet(t, clock.use)
	f.publish("egress", small(t, "1"))
	clock.advance(time.Hour)
	one, two := f.delta(), f.delta()
	one.connect("one", "egress")
	f.current("one")
	connected := f.node("one").ConnectedAt
	require.Equal(t, []server.NodeReceipt{{Generation: 1, At: connected}}, f.node("one").Receipts, "from when it connected")

	two.send(&discovery.DeltaDiscoveryRequest{Node: node("two", "egress"), TypeUrl: clusters})
	unanswered := two.expect(clusters)
	clock.advance(time.Second)
	n := f.node("two")
	require.Zero(t, n.Generation)
	require.Equal(t, 1, n.Behind, "it has not said that it has this one")
	require.InDelta(t, 1000, n.BehindMillis, 0)
	require.Equal(t, "egress", n.ServedGroup)

	f.publish("egress", small(t, "2"))
	clock.advance(40 * time.Millisecond)
	r := one.expect(listeners)
	require.Equal(t, 1, f.node("one").Behind)
	require.InDelta(t, 40, f.node("one").BehindMillis, 0)
	require.Equal(t, 2, f.node("two").Behind)
	one.ack(r)
	f.current("one")
	n = f.node("one")
	require.Equal(t, uint64(2), n.Generation)
	require.Equal(t, server.NodeReceipt{Generation: 2, At: clock.now(), Millis: 40}, n.Receipts[0], "newest first")
	require.Equal(t, 1040.0, f.node("two").BehindMillis)
	two.ack(unanswered)

	f.publish("egress", small(t, "bad"))
	rejected := clock.now()
	one.nack(one.expect(listeners), "no")
	require.True(t, f.rejects("one"))
	require.Eventually(t, func() bool { return f.node("one").Receipts[0].Rejected }, patience, time.Millisecond)
	for i := range 100 {
		clock.advance(time.Second)
		f.publish("egress", small(t, fmt.Sprint("bad ", i)))
		one.nack(one.expect(listeners), "no")
		require.Eventually(t, func() bool { return f.node("one").Receipts[0].Generation == f.generation }, patience, time.Millisecond)
	}
	n = f.node("one")
	require.Len(t, n.Receipts, 8)
	require.Equal(t, uint64(2), n.Generation)
	require.Equal(t, 101, n.Behind, "also those that are forgotten")
	require.InDelta(t, float64(clock.now().Sub(rejected).Milliseconds()), n.BehindMillis, 0)

	one.cancel()
	two.cancel()
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 0 }, patience, time.Millisecond)
}

func TestPreparation(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFleet(t, clock.use)
	f.noticed = clock.now()
	clock.advance(120 * time.Millisecond)
	f.publish("egress", small(t, "1"))
	require.InDelta(t, 120, f.group("egress").Receipts[0].PreparedMillis, 0)
	f.noticed = clock.now().Add(time.Minute)
	f.publish("egress", small(t, "2"))
	require.Zero(t, f.group("egress").Receipts[0].PreparedMillis, "clocks are set")
}

// clock is a server's clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *clock) use(_ *server.Server, o *server.Options) { o.Now = c.now }

func TestTotals(t *testing.T) {
	t.Parallel()
	clock := newClock()
	f := newFleet(t, clock.use)
	f.publish("egress", small(t, "1"))
	c := f.delta()
	c.connect("one", "egress")
	f.current("one")
	f.noticed = clock.now()
	clock.advance(20 * time.Millisecond)
	f.publish("egress", small(t, "2"))
	clock.advance(10 * time.Millisecond)
	c.ack(c.expect(listeners))
	f.current("one")
	f.noticed = time.Time{}
	f.publish("egress", small(t, "bad"))
	c.nack(c.expect(listeners), "no")
	require.True(t, f.rejects("one"))
	require.Eventually(t, func() bool { return f.group("egress").Totals.Rejected == 1 }, patience, time.Millisecond)
	got := f.group("egress").Totals
	require.Equal(t, uint64(2), got.Acknowledged)
	require.Equal(t, uint64(1), got.NACKs)
	require.InDelta(t, 0.03, got.Seconds, 1e-9, "from when the edit was noticed")
	require.Equal(t, []uint64{1, 1, 1, 2}, got.Within[:4], "5, 10, 25, 50 ms")
}
