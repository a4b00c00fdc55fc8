package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"sallyport/xds/server"
	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// rolled is the resources of a content: a listener, and the cluster that only this
// content has; and one of each that all have. What expires of a content, as
// one-expired, leads where it did.
func rolled(t testing.TB, content string) *translate.Resources {
	t.Helper()
	return &translate.Resources{
		Clusters:  []translate.Resource{upstream(t, "all", ""), upstream(t, leadsTo(content), "")},
		Listeners: []translate.Resource{entry(t, "in", content, leadsTo(content)), entry(t, "other", "", "all")},
	}
}

func leadsTo(content string) string {
	before, _, _ := strings.Cut(content, "-expired")
	return "to-" + before
}

// works is a server and its gateways in a bubble, on a clock that moves when
// everything else is done.
type works struct {
	t      *testing.T
	server *server.Server
	logs   *logtest.Hook

	rollout    server.Rollout
	generation uint64
	// latest is what was published last, and base what gateways have that are not
	// among the first: what the control loop remembers.
	latest, base *snapshot.Snapshot
	gateways     map[string]*pretend
	restarted    bool

	// mu guards the gateways, and what follows.
	mu sync.Mutex
	// wrong are the promises that were broken.
	wrong []string
}

func inWorks(t *testing.T, rollout server.Rollout, test func(*testing.T, *works)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &works{t: t, rollout: rollout, gateways: make(map[string]*pretend)}
		w.start()
		defer func() {
			for _, id := range slices.Sorted(maps.Keys(w.gateways)) {
				w.gateways[id].stop()
			}
			synctest.Wait()
		}()
		test(t, w)
		require.Empty(t, w.wrong)
	})
}

func (w *works) start() {
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	w.server, w.logs, w.generation = server.New(server.Options{Logger: log}), hook, 0
}

// restart is another process: gateways come back and say what they have. It knows
// what was published last, and if remembers what the others had.
func (w *works) restart(remembers bool) {
	w.t.Helper()
	w.settle()
	for _, g := range w.gateways {
		g.disconnect()
	}
	synctest.Wait()
	base, latest := w.base, w.latest
	w.start()
	w.restarted = true
	g := server.Group{Name: "egress", Snapshot: latest, Rollout: w.rollout}
	if w.base == nil || !remembers {
		w.base = nil
	} else {
		g.Stable, g.AtOnce = base, base == latest
	}
	w.put(g)
	for _, id := range slices.Sorted(maps.Keys(w.gateways)) {
		w.gateways[id].connect()
	}
	synctest.Wait()
}

// responses are how many each gateway was sent.
func (w *works) responses() map[string]int {
	out := make(map[string]int)
	for id, g := range w.gateways {
		out[id] = g.responses
	}
	return out
}

// settle notes whether all have what was published last.
func (w *works) settle() {
	if !w.server.UnfinishedRollouts()["egress"] {
		w.base = w.latest
	}
}

func (w *works) put(g server.Group) {
	w.t.Helper()
	w.generation++
	w.latest = g.Snapshot
	require.NoError(w.t, w.server.Publish(w.generation, []server.Group{g}))
	synctest.Wait()
}

// next is a content as a snapshot that may be published.
func (w *works) next(content string) *snapshot.Snapshot {
	w.t.Helper()
	w.settle()
	s, err := snapshot.New(w.latest, rolled(w.t, content), w.base)
	require.NoError(w.t, err)
	return s
}

// edit publishes a content.
func (w *works) edit(content string) {
	w.t.Helper()
	w.put(server.Group{Name: "egress", Snapshot: w.next(content), Rollout: w.rollout})
	w.settle()
}

// status is what is shown of the group, and rollout of its rollout.
func (w *works) status() server.GroupStatus { return w.server.Status().Groups[0] }

func (w *works) state() server.RolloutState {
	if r := w.status().Rollout; r != nil {
		return r.State
	}
	return ""
}

// first are the gateways that are given the candidate.
func (w *works) first() []string {
	out := []string{}
	for _, n := range w.server.Status().Nodes {
		if n.First {
			out = append(out, n.ID)
		}
	}
	return out
}

// add connects gateways.
func (w *works) add(ids ...string) {
	for _, id := range ids {
		// What is held back while nobody knows what was before may be overtaken.
		g := &pretend{w: w, id: id, missed: w.base == nil && w.restarted}
		g.forget()
		w.mu.Lock()
		w.gateways[id] = g
		w.mu.Unlock()
		g.connect()
	}
	synctest.Wait()
}

// numbered are so many names.
func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("gateway-%d", i)
	}
	return out
}

// have are the contents that the gateways have, by their names.
func (w *works) have() map[string]string {
	out := make(map[string]string)
	for id, g := range w.gateways {
		out[id] = g.content()
	}
	return out
}

// all asserts that every gateway has a content.
func (w *works) all(content string) {
	w.t.Helper()
	for id, has := range w.have() {
		require.Equal(w.t, content, has, id)
	}
}

func (w *works) blame(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// pretend is a gateway that behaves as Envoy does: it takes what is right, rejects
// what is not, and says what it has when it reconnects.
type pretend struct {
	w  *works
	id string

	// has are versions, by type and name, and listens the content of its listener.
	has     map[string]map[string]string
	listens string
	// sent are the contents that it was sent, in order, and responses how many
	// responses it was.
	sent      []string
	responses int
	// asFirst is the last content that it was sent as one of the first.
	asFirst string
	// silent answers nothing, and rejects says no to all listeners.
	silent, rejects bool
	// missed says that it may have missed a generation: removed clusters are kept for
	// one.
	missed  bool
	waiting []*discovery.DeltaDiscoveryRequest

	stream *pretendStream
}

// forget makes it a gateway that has just started.
func (g *pretend) forget() {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.has = map[string]map[string]string{clusters: {}, listeners: {}}
	g.listens, g.asFirst, g.waiting = "", "", nil
}

func (g *pretend) content() string {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.listens
}

func (g *pretend) was() []string {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return slices.Clone(g.sent)
}

func (g *pretend) connect() {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.connectLocked()
}

// connectLocked is connect for callers that hold the lock.
func (g *pretend) connectLocked() {
	ctx, cancel := context.WithCancel(context.Background())
	s := &pretendStream{g: g, ctx: ctx, cancel: cancel, requests: make(chan *discovery.DeltaDiscoveryRequest, 1000), ended: make(chan struct{})}
	g.stream, g.waiting = s, nil
	for _, typeURL := range []string{clusters, listeners} {
		s.requests <- &discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: g.id, Cluster: "egress"}, TypeUrl: typeURL, InitialResourceVersions: maps.Clone(g.has[typeURL]),
		}
	}
	server := g.w.server
	go func() {
		defer close(s.ended)
		_ = server.DeltaAggregatedResources(s) // it ends when the test says so, or the server
		cut := ctx.Err() == nil
		cancel() // as that of a stream is, when its handler returns
		if cut {
			time.Sleep(time.Second)
			g.w.mu.Lock()
			defer g.w.mu.Unlock()
			if g.missed = true; g.stream == s {
				g.connectLocked()
			}
		}
	}()
}

// disconnect cuts the stream.
func (g *pretend) disconnect() {
	g.w.mu.Lock()
	s := g.stream
	g.stream, g.missed = nil, true
	g.w.mu.Unlock()
	if s != nil {
		s.cancel()
		<-s.ended
	}
}

// crash is the end of the process, and the beginning of another.
func (g *pretend) crash() {
	g.disconnect()
	g.forget()
}

func (g *pretend) stop() {
	g.disconnect()
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	delete(g.w.gateways, g.id)
}

// say changes how it answers, and answers what is due.
func (g *pretend) say(silent, rejects bool) {
	g.w.mu.Lock()
	g.silent, g.rejects = silent, rejects
	g.missed = g.missed || silent
	due := g.waiting
	if !silent {
		g.waiting = nil
	}
	s := g.stream
	g.w.mu.Unlock()
	if !silent && s != nil {
		for _, a := range due {
			s.requests <- a
		}
	}
	synctest.Wait()
}

// take is what it makes of a response.
func (g *pretend) take(s *pretendStream, r *discovery.DeltaDiscoveryResponse) {
	answer := &discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	first, stopped := slices.Contains(g.w.first(), g.id), g.w.state() == server.RolloutStopped
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.responses++
	for _, resource := range r.GetResources() {
		if r.GetTypeUrl() == listeners && resource.GetName() == "in" {
			var l listener.Listener
			if err := resource.GetResource().UnmarshalTo(&l); err != nil {
				g.w.blame("%v", err)
			}
			g.sent = append(g.sent, l.GetStatPrefix())
			if !first || !stopped { // else it is what it had before
				g.w.sent(g, l.GetStatPrefix(), first)
			}
			if g.rejects || strings.HasPrefix(l.GetStatPrefix(), "bad") {
				answer.ErrorDetail = rejected("Error adding/updating listener(s) in: it is bad\n")
				continue
			}
			if g.listens = l.GetStatPrefix(); g.has[clusters][leadsTo(g.listens)] == "" {
				g.w.blame("%s was sent a listener that leads to %s before that", g.id, leadsTo(g.listens))
			}
		}
		g.has[r.GetTypeUrl()][resource.GetName()] = resource.GetVersion()
	}
	for _, name := range r.GetRemovedResources() {
		delete(g.has[r.GetTypeUrl()], name)
		if g.listens != "" && !g.missed && name == leadsTo(g.listens) {
			g.w.blame("%s lost %s before its listener", g.id, name)
		}
	}
	if g.silent {
		g.waiting = append(g.waiting, answer)
		return
	}
	s.requests <- answer
}

// sent checks the promise of rollouts: who is not among the first is given nothing
// that one who is connected has been given, and has not accepted.
func (w *works) sent(to *pretend, content string, first bool) {
	if first {
		to.asFirst = content
		return
	}
	if strings.HasPrefix(content, "bad") {
		w.blame("%s was sent %s, and is not among the first", to.id, content)
	}
	for _, g := range w.gateways {
		if g == to {
			continue
		}
		if g.asFirst == content && g.sent[len(g.sent)-1] == content && g.stream != nil && (g.listens != content || len(g.waiting) > 0) {
			w.blame("%s was sent %s, and is not among the first, while %s has not accepted it", to.id, content, g.id)
		}
	}
}

// pretendStream is the stream as the server sees it.
type pretendStream struct {
	grpc.ServerStream
	g        *pretend
	ctx      context.Context
	cancel   context.CancelFunc
	requests chan *discovery.DeltaDiscoveryRequest
	ended    chan struct{}
}

func (s *pretendStream) Context() context.Context { return s.ctx }

func (s *pretendStream) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

// Send is not how the server sends: its responses are encoded already.
func (s *pretendStream) Send(*discovery.DeltaDiscoveryResponse) error { return errors.ErrUnsupported }

func (s *pretendStream) SendMsg(message any) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	raw, err := server.Sent(message)
	if err != nil {
		return err
	}
	r := new(discovery.DeltaDiscoveryResponse)
	if err := proto.Unmarshal(raw, r); err != nil {
		return err
	}
	s.g.take(s, r)
	return nil
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
