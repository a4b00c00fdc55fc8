package faults

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// furnish fills the directory with what has anything to be ordered in it.
func (s *site) furnish() {
	s.t.Helper()
	for i := range 60 {
		var hosts []string
		for j := range 5 {
			hosts = append(hosts, fmt.Sprintf("h%d.t%d.example.com", j, i%40))
		}
		name := fmt.Sprintf("team-%d", i)
		s.write(fmt.Sprintf("teams/%s.yaml", name), fleet.Allow(name, fmt.Sprintf("sa-%d", i%7), hosts...)+"---\n"+
			fleet.Policy(name+"-not", "Deny", "sa-3", hosts[0], "*.bad.example.com"))
	}
	s.write("hosts.json", `{"apiVersion": "sallyport.dev/v1", "kind": "Destination", "metadata": {"name": "partner"},
		"spec": {"hosts": ["*.partner.example.com"], "port": 8443, "resolve": {"addresses": ["9.9.9.9", "9.9.9.10"]}}}`)
	s.write("other.yaml", fleet.GatewayDocument("other", "spiffe://"+demo.TrustDomain+"/ns/other/sa/gateway"))
}

// copied is the directory at another place, its files written in the other order,
// with the times of long ago.
func (s *site) copied() string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "a", "copy")
	var files []string
	require.NoError(s.t, filepath.WalkDir(s.Policies, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	slices.Reverse(files)
	for i, path := range files {
		content, err := os.ReadFile(path)
		require.NoError(s.t, err)
		name, err := filepath.Rel(s.Policies, path)
		require.NoError(s.t, err)
		require.NoError(s.t, fleet.WriteFile(dir, name, string(content)))
		then := time.Now().Add(-time.Duration(i+1) * time.Hour)
		require.NoError(s.t, os.Chtimes(filepath.Join(dir, name), then, then))
	}
	return dir
}

// dump is all that a control plane gives a gateway that has nothing.
func (s *site) dump(p *fleet.ControlPlane) (map[string]map[string][]byte, fleet.State) {
	s.t.Helper()
	responses := make(map[string]int)
	g := s.gatewayOf(p, "dump", whole, func(o *fleet.Options) { o.Seen = func(r fleet.Response) { responses[r.TypeURL]++ } })
	defer g.Close()
	require.NoError(s.t, g.Configured(s.within(patience)))
	s.current(p)
	require.Greater(s.t, len(g.Resources()[resource.ListenerType]), 20)
	return g.Resources(), g.State()
}

// current waits until all gateways of a control plane have all there is.
func (s *site) current(p *fleet.ControlPlane) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		m, err := p.Metrics()
		group := fmt.Sprintf(`{group="%s"}`, demo.Group)
		return err == nil && m["sallyport_gateways"+group] > 0 && m["sallyport_gateways"+group] == m["sallyport_gateways_current"+group]
	}, patience, 5*time.Millisecond)
}

// TestReplicas: control planes on one directory, on a copy of it, after other
// histories, and with a broken one and the last good on disk, serve the same bytes
// under the same versions. A gateway that goes from one to another is sent nothing.
func TestReplicas(t *testing.T) {
	t.Parallel()
	s := emptySite(t)
	s.furnish()
	replicas := map[string]*fleet.ControlPlane{
		"first":              s.serve(s.Policies),
		"the same directory": s.serve(s.Policies),
		"a copy":             s.serve(s.copied()),
	}

	// One that has been through other policies on its way here.
	way := s.copied()
	traveller := s.serve(way)
	companion := s.gatewayOf(traveller, "companion", whole)
	for i := range 20 {
		require.NoError(t, fleet.WriteFile(way, "teams/team-1.yaml", fleet.Allow("team-1", "sa-9", fmt.Sprintf("x%d.example.com", i))))
		require.NoError(t, fleet.WriteFile(way, fmt.Sprintf("z%d.yaml", i), fleet.Allow(fmt.Sprintf("z-%d", i), "sa-1", "z.example.com", fmt.Sprintf("z%d.t.example.com", i))))
		time.Sleep(30 * time.Millisecond)
	}
	for i := range 20 {
		require.NoError(t, os.Remove(filepath.Join(way, fmt.Sprintf("z%d.yaml", i))))
	}
	content, err := os.ReadFile(filepath.Join(s.Policies, "teams/team-1.yaml"))
	require.NoError(t, err)
	require.NoError(t, fleet.WriteFile(way, "teams/team-1.yaml", string(content)))
	// At last a host comes and goes, alone: its cluster is one that is retired.
	require.Eventually(t, func() bool {
		_, versions := s.dump(traveller)
		_, wanted := s.dump(replicas["first"])
		return maps.Equal(versions[resource.ListenerType], wanted[resource.ListenerType]) &&
			maps.Equal(companion.State()[resource.ListenerType], wanted[resource.ListenerType])
	}, patience, 20*time.Millisecond)
	clusters := len(companion.State()[resource.ClusterType])
	require.NoError(t, fleet.WriteFile(way, "last.yaml", fleet.Allow("last", "sa-1", "last.example.net")))
	require.Eventually(t, func() bool { return len(companion.State()[resource.ClusterType]) != clusters }, patience, 10*time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(way, "last.yaml")))
	replicas["another history"] = traveller

	// One that starts with a broken directory, and has what it served before.
	kept := s.copied()
	state := filepath.Join(t.TempDir(), "state")
	before := s.serve(kept, "--state", state)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(state, "last-good.tar"))
		return err == nil
	}, patience, 10*time.Millisecond)
	before.Kill()
	require.NoError(t, fleet.WriteFile(kept, "teams/team-1.yaml", "kind: Nonsense\n"))
	replicas["the last good"] = s.serve(kept, "--state", state)

	wholeOf, has := s.dump(replicas["first"])
	require.NoError(t, companion.Until(s.within(patience), func(state fleet.State) bool {
		return maps.Equal(state[resource.ListenerType], has[resource.ListenerType])
	}))
	s.current(traveller)
	require.Greater(t, len(companion.State()[resource.ClusterType]), len(has[resource.ClusterType]), "it keeps clusters that are retired")
	generations := make(map[float64]bool)
	for name, p := range replicas {
		t.Run(name, func(t *testing.T) {
			require.Eventually(t, func() bool {
				got, versions := s.dump(p)
				if name == "another history" && !equal(versions, has) {
					return false // it is still on its way
				}
				require.Equal(t, has, versions)
				require.Equal(t, wholeOf, got)
				return true
			}, patience, 50*time.Millisecond)
			for _, has := range []fleet.State{has, companion.State()} {
				mover := s.gatewayOf(p, "mover", func(o *fleet.Options) { o.Has = has })
				s.current(p)
				time.Sleep(100 * time.Millisecond)
				responses, _ := mover.Received()
				require.Zero(t, responses, "a gateway that has it all was sent something")
				mover.Close()
			}
			m, err := p.Metrics()
			require.NoError(t, err)
			generations[m["sallyport_generation"]] = true
		})
	}
	require.Greater(t, len(generations), 1, "their generations are their own")
}

// equal compares what gateways have.
func equal(a, b fleet.State) bool {
	for _, typeURL := range fleet.Subscribed() {
		if len(a[typeURL]) != len(b[typeURL]) {
			return false
		}
		for name, version := range a[typeURL] {
			if b[typeURL][name] != version {
				return false
			}
		}
	}
	return true
}

// TestReplicaThatLagsBehind: a gateway takes the policy of the replica that it is
// connected to. One that moves to a replica with an older directory gets the older
// policy, a grant that was revoked included, until that replica has the edit too.
func TestReplicaThatLagsBehind(t *testing.T) {
	t.Parallel()
	s := emptySite(t)
	s.write("allow.yaml", fleet.Allow("first", "sleep", "old.example.com"))
	behind := s.copied()
	s.write("allow.yaml", fleet.Allow("first", "sleep", "new.example.com"))
	ahead, lagging := s.serve(s.Policies), s.serve(behind)

	g := s.gatewayOf(ahead, "one", whole)
	s.grants(g, "new.example.com")
	has := g.State()
	g.Close()
	moved := s.gatewayOf(lagging, "one", whole, func(o *fleet.Options) { o.Has = has })
	s.grants(moved, "old.example.com")
	require.False(t, granted(t, moved)["new.example.com"])

	require.NoError(t, fleet.WriteFile(behind, "allow.yaml", fleet.Allow("first", "sleep", "new.example.com")))
	s.grants(moved, "new.example.com")
	require.False(t, granted(t, moved)["old.example.com"])
	s.current(lagging)
	require.Equal(t, has[resource.ListenerType], moved.State()[resource.ListenerType], "it is where it was")
}

// TestReplicaWithAnEmptyDirectory: a replica whose directory did not arrive serves
// nothing, and takes nothing from a gateway that moves to it.
func TestReplicaWithAnEmptyDirectory(t *testing.T) {
	t.Parallel()
	s, g := grantingSite(t)
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.Mkdir(empty, 0o755))
	other := s.serve(empty)
	_, err := other.Get("/readyz")
	require.ErrorContains(t, err, "503", "it says that it is not ready, so that nobody is sent to it")
	moved := s.gatewayOf(other, "one", func(o *fleet.Options) { o.Has = g.State() })
	time.Sleep(500 * time.Millisecond)
	responses, _ := moved.Received()
	require.Zero(t, responses)
	require.NoError(t, moved.Err())
	require.False(t, strings.Contains(other.Log(), "panic"))
}
