package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// TestSotwClientRejectsEverything: a gateway of the state-of-the-world protocol
// that rejects whatever it is sent is not sent the same version twice, and the
// status says who it is and what in the policy it does not like.
func TestSotwClientRejectsEverything(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("allow.yaml", fleet.Allow("first", "sleep", "a.example.com"))
	s.grants(s.gateway("good", whole), "a.example.com")

	config, err := s.As(demo.GatewayID)
	require.NoError(t, err)
	conn, err := fleet.Dial(s.control.XDS().String(), config)
	require.NoError(t, err)
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(s.within(time.Minute), grpc.MaxCallRecvMsgSize(1<<30))
	require.NoError(t, err)
	for i, typeURL := range fleet.Subscribed() {
		request := &discovery.DiscoveryRequest{TypeUrl: typeURL}
		if i == 0 {
			request.Node = &core.Node{Id: "no-sayer", Cluster: demo.Group}
		}
		require.NoError(t, stream.Send(request))
	}
	type version struct{ typeURL, version string }
	sent := make(chan version, 10_000)
	go func() {
		defer close(sent)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			sent <- version{r.GetTypeUrl(), r.GetVersionInfo()}
			why := "no thanks"
			if r.GetTypeUrl() == resource.ListenerType {
				why = "filter chain 'a.example.com|ns[default]-policy[first]-rule[0]': no thanks"
			}
			// No version_info: it has accepted nothing.
			if stream.Send(&discovery.DiscoveryRequest{
				TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &statuspb.Status{Code: 3, Message: why},
			}) != nil {
				return
			}
		}
	}()
	const edits = 5
	for i := range edits {
		s.write("more.yaml", fleet.Allow("more", "sleep", fmt.Sprintf("m%d.example.com", i)))
		time.Sleep(200 * time.Millisecond)
	}
	shown := s.eventually(patience, "the status names the gateway and the cause", func(st shownStatus) bool {
		for _, n := range st.Nodes {
			for _, ty := range n.Types {
				if n.ID == "no-sayer" && n.Rejecting && ty.NACK != nil && ty.Type == "listener" && len(ty.NACK.Causes) > 0 {
					return ty.NACK.Causes[0].Position.File == "allow.yaml"
				}
			}
		}
		return false
	})
	require.Equal(t, 1, shown.Groups[0].Rejecting)
	require.Contains(t, s.control.Log(), "no-sayer")
	time.Sleep(time.Second)
	require.NoError(t, conn.Close())
	count := make(map[version]int)
	for v := range sent {
		count[v]++
	}
	require.Greater(t, len(count), edits, "each edit is tried once")
	require.LessOrEqual(t, slices.Max(slices.Collect(maps.Values(count))), 1, "%v", count)
}

// TestDeltaClientIsCorrected: a gateway that rejected something accepts what
// corrects it within two seconds of the edit.
func TestDeltaClientIsCorrected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("allow.yaml", fleet.Allow("first", "sleep", "a.example.com"))
	// It takes nothing with a grant for bad.example.com in it.
	picky := s.gateway("picky", func(o *fleet.Options) {
		o.Whole = true
		o.Judge = func(r fleet.Response) error {
			for _, res := range r.Resources {
				if containsName(res.Body, "bad.example.com|") {
					return errors.New("filter chain 'bad.example.com|': not that one")
				}
			}
			return nil
		}
	})
	s.grants(picky, "a.example.com")
	for i := range 5 {
		responses, _ := picky.Received()
		s.write("bad.yaml", fleet.Allow("bad", "sleep", "bad.example.com"))
		s.eventually(patience, "it is shown as rejecting", func(st shownStatus) bool { return len(st.Nodes) == 1 && st.Nodes[0].Rejecting })
		after, _ := picky.Received()
		require.Greater(t, after, responses)
		require.False(t, granted(t, picky)["bad.example.com"])

		good := fmt.Sprintf("good-%d.example.com", i)
		began := time.Now()
		s.write("bad.yaml", fleet.Allow("bad", "sleep", good))
		s.eventually(2*time.Second, "it is current again", func(st shownStatus) bool {
			return st.Nodes[0].Current && !st.Nodes[0].Rejecting && granted(t, picky)[good]
		})
		require.Less(t, time.Since(began), 2*time.Second)
		total, _ := picky.Received()
		require.LessOrEqual(t, total-after, 4, "it is not sent in a loop")
	}
}

func containsName(data []byte, name string) bool {
	for i := 0; i+len(name) <= len(data); i++ {
		if string(data[i:i+len(name)]) == name {
			return true
		}
	}
	return false
}

// TestKilledInTheMiddleOfAPush: the control plane is killed while it sends, again
// and again. A gateway that comes back with what it has is sent what it lacks, and
// nothing that it has.
func TestKilledInTheMiddleOfAPush(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hosts := func(n, edit int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("h%d.e%d.example.com", i, edit))
		}
		return out
	}
	s.write("allow.yaml", fleet.Allow("many", "sleep", hosts(600, 0)...))
	first := s.gateway("one", whole)
	s.grants(first, "h599.e0.example.com")
	has, total := first.State(), 0
	for edit := 1; edit <= 4; edit++ {
		// Reading slowly lets the kill come between two parts.
		parts := make(chan struct{}, 1000)
		slow := s.gateway("one", func(o *fleet.Options) {
			o.Has = has
			o.Seen = func(fleet.Response) { parts <- struct{}{}; time.Sleep(20 * time.Millisecond) }
		})
		s.write("allow.yaml", fleet.Allow("many", "sleep", hosts(600, edit)...))
		for range edit {
			select {
			case <-parts:
			case <-time.After(patience):
				require.Fail(t, "no part came")
			}
		}
		s.control.Kill()
		<-slow.Done()
		has = slow.State()
		s.control = s.serve(s.Policies)

		// What is sent on the new stream is what differs, name by name.
		sent := make(chan fleet.Response, 10_000)
		back := s.gateway("one", func(o *fleet.Options) {
			o.Has, o.Whole = has, true
			o.Seen = func(r fleet.Response) { sent <- r }
		})
		s.eventually(patience, "it is current", func(st shownStatus) bool { return len(st.Nodes) == 1 && st.Nodes[0].Current })
		now := back.State()
		back.Close()
		close(sent)
		for r := range sent {
			for _, res := range r.Resources {
				require.NotEqual(t, has[r.TypeURL][res.Name], res.Version, "%s was sent again, and it had it", res.Name)
				total++
			}
		}
		fresh := s.gateway("two", whole)
		s.grants(fresh, fmt.Sprintf("h599.e%d.example.com", edit))
		s.eventually(patience, "it is current", func(st shownStatus) bool { return len(st.Nodes) == 1 && st.Nodes[0].Current })
		require.Equal(t, fresh.State()[resource.ListenerType], now[resource.ListenerType], "both ends are the same")
		for name, version := range fresh.State()[resource.ClusterType] { // it may have more, that nothing leads to
			require.Equal(t, version, now[resource.ClusterType][name], name)
		}
		fresh.Close()
		s.eventually(patience, "it is gone", func(st shownStatus) bool { return len(st.Nodes) == 0 })
		has = now
	}
	require.Positive(t, total, "every kill came after the push: none was in the middle")

	// And one that was not in the middle of anything.
	s.control.Kill()
	s.control = s.serve(s.Policies)
	idle := s.gateway("one", func(o *fleet.Options) { o.Has = has })
	s.eventually(patience, "it is current", func(st shownStatus) bool { return len(st.Nodes) == 1 && st.Nodes[0].Current })
	responses, _ := idle.Received()
	require.Zero(t, responses)
	require.NoError(t, idle.Until(context.Background(), func(fleet.State) bool { return true }))
}
