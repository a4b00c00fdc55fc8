package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/xds/server"
)

// world is a status of groups and gateways.
func world(groups []server.GroupStatus, nodes ...server.NodeStatus) control.Status {
	return control.Status{Status: server.Status{Groups: groups, Nodes: nodes}}
}

// served is a group whose content changed in the generations, the latest first.
func served(name string, generations ...uint64) server.GroupStatus {
	g := server.GroupStatus{Name: name, Generation: generations[0]}
	for _, n := range generations {
		g.Receipts = append(g.Receipts, server.Receipt{Generation: n})
	}
	return g
}

func at(id, group string, generation uint64) server.NodeStatus {
	return server.NodeStatus{ID: id, ServedGroup: group, Known: true, Generation: generation, Behind: 1, BehindMillis: 2500}
}

func rejecting(n server.NodeStatus) server.NodeStatus {
	n.Rejecting = true
	n.Types = []server.TypeStatus{
		{Type: "cluster"},
		{Type: "listener", NACK: &server.NACK{
			Generation: 5, Message: `x: no\u000ay: neither`, MoreCauses: 3, At: time.Unix(2, 0),
			Causes: []server.Cause{{Position: diag.Position{File: "a.yaml", Line: 3}, What: "rule x"}},
		}},
		{Type: "secret", NACK: &server.NACK{Generation: 4, Message: "old", At: time.Unix(1, 0)}},
	}
	return n
}

func TestJudge(t *testing.T) {
	pending := func(lines ...string) standing { return standing{Pending: lines, Rejected: []string{}} }
	done := pending([]string{}...)
	done.Pending = []string{}
	for name, tt := range map[string]struct {
		status     control.Status
		generation uint64
		atLeast    int
		enforcing  map[string]int
		want       standing
	}{
		"all have it": {
			world([]server.GroupStatus{served("east", 5, 4), served("west", 5)}, at("a", "east", 5), at("b", "west", 5)), 5, 1,
			map[string]int{"east": 1, "west": 1}, done,
		},
		"one has the one before": {
			world([]server.GroupStatus{served("east", 5, 4)}, at("a", "east", 5), at("b", "east", 4)), 5, 1,
			map[string]int{"east": 1}, pending("b of east has not acknowledged it: 1 generation behind for 2 s"),
		},
		"it was about another group": {
			world([]server.GroupStatus{served("east", 3, 2), served("west", 5)}, at("a", "east", 3), at("b", "west", 5)), 5, 1,
			map[string]int{"east": 1, "west": 1}, done,
		},
		"a later one was acknowledged": {
			world([]server.GroupStatus{served("east", 9, 5, 4)}, at("a", "east", 9), at("b", "east", 5)), 6, 1, map[string]int{"east": 2}, done,
		},
		"it is forgotten, and a later one was acknowledged": {
			world([]server.GroupStatus{served("east", 90, 80)}, at("a", "east", 90), at("b", "east", 7)), 6, 1,
			map[string]int{"east": 1}, pending("b of east has not acknowledged it: 1 generation behind for 2 s"),
		},
		"a later one was rejected, and this one not": {
			world([]server.GroupStatus{served("east", 7, 5)}, rejecting(at("a", "east", 5))), 5, 1, map[string]int{"east": 1}, done,
		},
		"it was rejected": {
			world([]server.GroupStatus{served("east", 5, 4)}, rejecting(at("a", "east", 4)), at("b", "east", 0)), 5, 1, map[string]int{"east": 0},
			standing{
				Pending:  []string{"b of east has not acknowledged it: 1 generation behind for 2 s"},
				Rejected: []string{"a of east rejected its listeners of generation 5: x: no\n    y: neither\n    a.yaml:3: rule x\n    and 3 places more"},
			},
		},
		"nobody is there": {
			world([]server.GroupStatus{served("east", 5)}), 5, 1, map[string]int{"east": 0},
			pending("no gateway of east is connected, so nothing enforces it there (--at-least 0 takes that for enough, --gateway leaves other groups out)"),
		},
		"nobody need be there": {world([]server.GroupStatus{served("east", 5)}), 5, 0, map[string]int{"east": 0}, done},
		"too few are there": {
			world([]server.GroupStatus{served("east", 5)}, at("a", "east", 5), at("b", "east", 5)), 5, 3, map[string]int{"east": 2},
			pending("2 gateways of east connected, and --at-least 3 are wanted"),
		},
		"strangers do not count": {
			world([]server.GroupStatus{served("east", 5)}, at("a", "east", 5), server.NodeStatus{ID: "x", Group: "nowhere"}), 5, 1, map[string]int{"east": 1}, done,
		},
		"nor do groups without a document": {
			world([]server.GroupStatus{served("east", 5), {Name: "old", Generation: 2, Orphaned: true}}, at("a", "east", 5), at("o", "old", 0)), 5, 1,
			map[string]int{"east": 1}, done,
		},
		"no group": {world(nil), 5, 1, map[string]int{}, done},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Enforcing = tt.enforcing
			j := judgement{generation: tt.generation, atLeast: tt.atLeast, seen: map[nodeKey]bool{}}
			require.Equal(t, tt.want, j.of(tt.status, false))
		})
	}
}

// A gateway that was there and went goes on with what it had: it must come back,
// with it.
func TestJudgeRemembersWhoWasThere(t *testing.T) {
	j := judgement{generation: 5, atLeast: 1, seen: map[nodeKey]bool{}}
	groups := []server.GroupStatus{served("east", 5, 4)}
	both := world(groups, at("a", "east", 5), at("b", "east", 4))
	require.Len(t, j.of(both, false).Pending, 1)
	gone := world(groups, at("a", "east", 5))
	require.Equal(t, []string{"b of east is not connected any more, and goes on with what it had"}, j.of(gone, false).Pending)
	require.Len(t, j.of(world(groups, at("a", "east", 5), at("b", "east", 0)), false).Pending, 1)
	require.Empty(t, j.of(world(groups, at("a", "east", 5), at("b", "east", 5)), false).Pending)
	// Without a name of its own it is known by its identity.
	n := at("", "east", 4)
	n.Identity = "spiffe://td/gw"
	j.of(world(groups, n), false)
	require.Contains(t, j.of(gone, false).Pending, "spiffe://td/gw of east is not connected any more, and goes on with what it had")
}

func TestDigestTarget(t *testing.T) {
	now := time.Now()
	history := func(entries ...control.InForce) control.Status {
		s := control.Status{History: entries}
		if len(entries) > 0 {
			s.Digest, s.Generation = entries[0].Digest, entries[0].Generation
		}
		return s
	}
	old := control.InForce{Digest: "aaaaaaaaaaaa", Generation: 5, At: now}
	other := control.InForce{Digest: "bbbbbbbbbbbb", Generation: 6, At: now.Add(1)}
	again := control.InForce{Digest: "aaaaaaaaaaaa", Generation: 7, At: now.Add(2)}
	later := control.InForce{Digest: "cccccccccccc", Generation: 8, At: now.Add(3)}
	ask := func(statuses ...control.Status) (generation uint64, ok bool, err error) {
		t.Helper()
		d, err := newDigestTarget("aaaaaaaaaaaa0000")
		require.NoError(t, err)
		for _, s := range statuses {
			generation, ok, err = d.published(s)
		}
		return generation, ok, err
	}
	for name, tt := range map[string]struct {
		statuses []control.Status
		want     uint64
	}{
		"it is in force":                               {[]control.Status{history(old)}, 5},
		"it comes into force":                          {[]control.Status{history(other), history(again, other)}, 7},
		"it came, and something after it":              {[]control.Status{history(other), history(later, again, other)}, 7},
		"what was in force before does not count":      {[]control.Status{history(other, old), history(later, other, old)}, 0},
		"the control plane had nothing, and has it":    {[]control.Status{history(), history(old)}, 5},
		"the control plane was started anew meanwhile": {[]control.Status{history(other, old), history(later, again)}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			generation, ok, err := ask(tt.statuses...)
			require.NoError(t, err)
			require.Equal(t, tt.want > 0, ok)
			require.Equal(t, tt.want, generation)
		})
	}
	var errs diag.List
	errs.Errorf(diag.Position{File: "a.yaml", Line: 1}, "some-code", "no")
	refused := history(other)
	refused.Errors, refused.RefusedDigest = errs, "dddddddddddd"
	_, ok, err := ask(refused)
	require.False(t, ok)
	require.NoError(t, err, "another one was refused")
	refused.RefusedDigest = "aaaaaaaaaaaa"
	_, _, err = ask(refused)
	require.EqualError(t, err, "the control plane refuses its policy directory, and keeps generation 6:\n  a.yaml:1: error: no [some-code]")
}

func TestLatestTarget(t *testing.T) {
	var busy, broken diag.List
	busy.Errorf(diag.Position{File: "a.yaml"}, "file-busy", "is still being written")
	broken = append(busy, diag.Diagnostic{Code: "some-code", Message: "no"})
	_, ok, err := latestTarget{}.published(control.Status{Ready: true, Generation: 3, Errors: busy})
	require.NoError(t, err, "that passes")
	require.False(t, ok)
	_, _, err = latestTarget{}.published(control.Status{Ready: true, Generation: 3, Errors: broken})
	require.ErrorContains(t, err, "a.yaml: error: is still being written")
	generation, ok, err := latestTarget{}.published(control.Status{Ready: true, Generation: 3})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(3), generation)
}

// A directory that others go on editing: what it becomes has the edit as well.
func TestDirectoryTargetFollowsTheDirectory(t *testing.T) {
	dir := policies(t, "wikipedia")
	got, err := newDirectoryTarget(dir)
	require.NoError(t, err)
	d := got.(*directoryTarget)
	_, ok, err := d.published(control.Status{Digest: "000000000000", Generation: 1})
	require.NoError(t, err)
	require.False(t, ok)
	edit(t, dir, "more.yaml", allowing("h.example.com"))
	now, err := newDirectoryTarget(dir)
	require.NoError(t, err)
	d.read = time.Time{} // a while ago
	generation, ok, err := d.published(control.Status{Digest: now.(*directoryTarget).digests[0][:12], Generation: 2})
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(2), generation)
}

// A rollout says what is missing; one that is stopped ends the wait, unless what is
// waited for is what the gateways had before.
func TestJudgeRollouts(t *testing.T) {
	judged := func(r server.RolloutStatus, generation uint64) standing {
		g := served("east", 5, 4)
		g.Rollout = &r
		return judgement{generation: generation, atLeast: 1, seen: map[nodeKey]bool{}}.of(world([]server.GroupStatus{g}, at("a", "east", 4)), false)
	}
	r := server.RolloutStatus{State: server.RolloutWaits, Generation: 5, Base: 4, Chosen: 1, Of: 2, WaitsFor: "b"}
	require.Equal(t, "east: generation 5 is on the first 1 of 2 gateways, and waits for b to accept it", judged(r, 5).Pending[0])
	require.Empty(t, judged(r, 5).Rejected)
	r.State, r.Reason = server.RolloutStopped, "b rejected its listeners: no"
	r.NACK = &server.NACK{Causes: []server.Cause{{Position: diag.Position{File: "a.yaml", Line: 3}, What: "rule x"}}}
	require.Equal(t, []string{"east: the rollout of generation 5 is stopped: b rejected its listeners: no\n    a.yaml:3: rule x"}, judged(r, 5).Rejected)
	require.Empty(t, judged(r, 4).Rejected)
	require.Empty(t, judged(r, 4).Pending, "all have it")
}
