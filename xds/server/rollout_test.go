package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/xds/server"
	"sallyport/xds/snapshot"
)

const minute = time.Minute

// A part of the gateways is given an edit, and when that part has accepted it, the
// others.
func TestRollout(t *testing.T) {
	inWorks(t, server.Rollout{Count: 2, Pause: minute, Timeout: 5 * minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(6)...)
		pass(2 * minute)
		w.all("one")
		require.Nil(t, w.status().Rollout)

		w.gateways["gateway-0"].say(false, false)
		w.edit("two")
		first := w.first()
		require.Len(t, first, 2)
		for id, has := range w.have() {
			want := "one"
			if slices.Contains(first, id) {
				want = "two"
			}
			require.Equal(t, want, has, id)
		}
		s := w.status()
		require.Equal(t, server.RolloutPauses, s.Rollout.State)
		require.Equal(t, uint64(2), s.Rollout.Generation)
		require.Equal(t, uint64(1), s.Rollout.Base)
		require.Equal(t, "2", s.Rollout.First)
		require.Equal(t, [3]int{2, 2, 6}, [3]int{s.Rollout.Chosen, s.Rollout.Accepted, s.Rollout.Of})
		require.Equal(t, time.Now().Add(minute), s.Rollout.Until)
		require.Equal(t, uint64(2), s.Generation)
		require.Equal(t, 2, s.Current, "the others do not have the generation")
		require.Contains(t, s.Rollout.String(), "generation 2 is on the first 2 of 6 gateways, and the others follow after the pause, at 20")
		select {
		case <-w.server.RolloutChanged():
		default:
		}
		pass(minute - time.Second)
		require.Equal(t, 2, w.status().Current)
		pass(time.Second)
		w.all("two")
		require.Nil(t, w.status().Rollout)
		require.Equal(t, 6, w.status().Current)
		require.Equal(t, 6, w.status().Receipts[0].ACKed)
		<-w.server.RolloutChanged()
		require.Empty(t, w.server.UnfinishedRollouts())

		// The same gateways are first again.
		w.edit("three")
		require.Equal(t, first, w.first())
	})
}

// Without a pause only the receipt is waited for.
func TestRolloutUntilAccepted(t *testing.T) {
	inWorks(t, server.Rollout{Count: 1, Timeout: 5 * minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(4)...)
		pass(minute)
		w.all("one")
		first := w.firstOf("two")
		w.gateways[first].say(true, false)
		w.edit("two")
		pass(minute)
		require.Equal(t, server.RolloutWaits, w.state())
		require.Equal(t, first, w.status().Rollout.WaitsFor)
		require.Contains(t, w.status().Rollout.String(), "generation 3 is on the first 1 of 4 gateways, and waits for "+first+" to accept it")
		for id, g := range w.gateways {
			require.Equal(t, id == first, slices.Contains(g.was(), "two"), id)
		}
		w.gateways[first].say(false, false)
		w.all("two")
		require.Nil(t, w.status().Rollout)
	})
}

// firstOf finds out which gateway is first, by an edit that is put back.
func (w *works) firstOf(string) string {
	w.t.Helper()
	was := w.rollout
	w.rollout.Pause = time.Hour
	content := w.gateways["gateway-0"].content()
	w.edit("probe")
	first := w.first()
	require.NotEmpty(w.t, first)
	w.rollout = was
	w.generation--
	w.edit(content)
	w.all(content)
	require.Nil(w.t, w.status().Rollout)
	w.generation = w.status().Generation
	return first[0]
}

// A share is of the gateways' names, so that it needs no knowledge of the others.
func TestRolloutShare(t *testing.T) {
	counts := make(map[int]int)
	for _, percent := range []int{1, 10, 50, 100} {
		inWorks(t, server.Rollout{Percent: percent, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
			w.edit("one")
			w.add(numbered(100)...)
			pass(5 * minute)
			w.edit("two")
			first := w.first()
			counts[percent] = len(first)
			require.Equal(t, len(first), w.status().Rollout.Chosen)

			// Another replica, which has a part of the gateways, finds the same.
			if percent == 10 {
				mine := append(slices.Clone(first[:2]), "gateway-1", "gateway-2", "gateway-3")
				slices.Sort(mine)
				inReplica(t, w, slices.Compact(mine), first)
			}
		})
	}
	require.Equal(t, 1, counts[1], "at least one")
	require.InDelta(t, 10, counts[10], 6)
	require.InDelta(t, 50, counts[50], 15)
	require.Equal(t, 100, counts[100])
}

// inReplica asserts that a replica with a part of the gateways chooses among them
// as the other did.
func inReplica(t *testing.T, w *works, ids, first []string) {
	t.Helper()
	other := &works{t: t, rollout: w.rollout, gateways: make(map[string]*pretend)}
	other.start()
	other.edit("one")
	other.add(ids...)
	pass(5 * minute)
	other.edit("two")
	for _, id := range ids {
		require.Equal(t, slices.Contains(first, id), slices.Contains(other.first(), id), id)
	}
	for _, id := range ids {
		other.gateways[id].stop()
	}
	require.Empty(t, other.wrong)
}

// A rejection stops the rollout, and those that were given the generation go back.
func TestRolloutIsRejected(t *testing.T) {
	inWorks(t, server.Rollout{Count: 2, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(5)...)
		pass(2 * minute)
		responses := w.responses()
		s := w.next("bad")
		w.put(server.Group{Name: "egress", Snapshot: s, Rollout: w.rollout, Causes: func(server.Rejection) []server.Cause {
			return []server.Cause{{Position: diag.Position{File: "a.yaml", Line: 3, Column: 1}, What: "rule x"}}
		}})
		w.all("one")
		got := w.status()
		require.Equal(t, server.RolloutStopped, got.Rollout.State)
		require.Equal(t, uint64(2), got.Rollout.Generation)
		require.Equal(t, uint64(1), got.Rollout.Base)
		require.Regexp(t, `^gateway-\d rejected its listeners: Error adding/updating listener\(s\) in: it is bad$`, got.Rollout.Reason)
		require.Equal(t, "a.yaml:3:1: rule x", got.Rollout.NACK.Causes[0].String())
		require.Equal(t, uint64(1), got.Totals.RolloutsStopped)
		require.Zero(t, got.Rejecting, "what was rejected was taken back")
		require.True(t, w.server.UnfinishedRollouts()["egress"])
		touched := 0
		for id, g := range w.gateways {
			if g.responses != responses[id] {
				touched++
			}
		}
		// The second may be spared: the first one to reject it stops the rollout.
		require.Contains(t, []int{1, 2}, touched, "nobody else was sent anything")
		var stopped *logrus.Entry
		for _, e := range w.logs.AllEntries() {
			if e.Level == logrus.ErrorLevel && e.Data["causes"] != nil && e.Data["base"] != nil {
				stopped = e
			}
		}
		require.NotNil(t, stopped)
		require.Contains(t, stopped.Message, "the rollout is stopped, and what the first gateways were given is taken back: gateway-")
		require.Equal(t, []string{"a.yaml:3:1: rule x"}, stopped.Data["causes"])
		require.Equal(t, uint64(1), stopped.Data["base"])

		// Nothing moves it: no time, no gateway that comes, or comes back.
		w.add("newcomer")
		w.gateways["gateway-0"].disconnect()
		w.gateways["gateway-0"].connect()
		w.gateways["gateway-1"].crash()
		w.gateways["gateway-1"].connect()
		pass(time.Hour)
		w.all("one")
		require.Equal(t, server.RolloutStopped, w.state())

		// The next edit starts from what they have.
		w.edit("two")
		require.Equal(t, server.RolloutPauses, w.state())
		require.Len(t, w.first(), 2)
		pass(minute)
		w.all("two")
		require.Nil(t, w.status().Rollout)
	})
}

// The edit is put back: nobody is sent what it has.
func TestRolloutIsPutBack(t *testing.T) {
	for name, content := range map[string]string{"while it is under way": "two", "after it was stopped": "bad"} {
		t.Run(name, func(t *testing.T) {
			inWorks(t, server.Rollout{Count: 2, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
				w.edit("one")
				w.add(numbered(5)...)
				pass(2 * minute)
				responses := w.responses()
				w.edit(content)
				first := make(map[string]bool)
				for id, g := range w.gateways {
					first[id] = g.responses != responses[id]
				}
				w.edit("one")
				w.all("one")
				require.Nil(t, w.status().Rollout)
				require.Equal(t, 5, w.status().Current, "all have it")
				for id, g := range w.gateways {
					require.Equal(t, first[id], g.responses != responses[id], id)
				}
				pass(time.Hour)
				w.edit("three")
				pass(minute)
				w.all("three")
			})
		})
	}
}

// A later edit takes the place of the one that is under way.
func TestRolloutIsOvertaken(t *testing.T) {
	inWorks(t, server.Rollout{Count: 1, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(4)...)
		pass(2 * minute)
		w.edit("two")
		first := w.first()
		pass(minute - time.Second)
		w.edit("three")
		require.Equal(t, first, w.first())
		pass(minute - time.Second)
		for id, g := range w.gateways {
			require.Equal(t, slices.Contains(first, id), g.content() == "three", id)
			require.Equal(t, slices.Contains(first, id), slices.Contains(g.was(), "two"), id)
		}
		require.Equal(t, uint64(1), w.status().Rollout.Base)
		pass(time.Second)
		w.all("three")
	})
}

// The rollout itself is changed: removed, it gives the generation to all at once;
// changed, it starts anew if it was stopped.
func TestRolloutIsChanged(t *testing.T) {
	inWorks(t, server.Rollout{Count: 1, Pause: time.Hour, Timeout: minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(5)...)
		pass(2 * time.Hour)
		w.edit("two")
		require.Len(t, w.first(), 1)
		w.rollout.Count = 3
		w.edit("two")
		require.Len(t, w.first(), 3)
		require.Equal(t, server.RolloutPauses, w.state())
		w.rollout = server.Rollout{}
		w.edit("two")
		w.all("two")
		require.Nil(t, w.status().Rollout)

		w.rollout = server.Rollout{Count: 2, Pause: minute, Timeout: minute}
		for _, g := range w.gateways {
			g.say(false, true)
		}
		w.edit("three")
		require.Equal(t, server.RolloutStopped, w.state())
		for _, g := range w.gateways {
			g.say(false, false)
		}
		w.rollout.Timeout = 2 * minute
		w.edit("three")
		require.Equal(t, server.RolloutPauses, w.state())
		pass(minute)
		w.all("three")

		// Together with an edit it is at once, too.
		w.rollout = server.Rollout{}
		w.edit("four")
		w.all("four")
	})
}

// Grants that expire are taken from those that have what is rolled out, and from
// those that have what was before, at once; also when it was stopped.
func TestRolloutAndExpiry(t *testing.T) {
	for _, content := range []string{"two", "bad"} {
		inWorks(t, server.Rollout{Count: 1, Pause: time.Hour, Timeout: time.Hour}, func(t *testing.T, w *works) {
			w.edit("one")
			w.add(numbered(4)...)
			pass(2 * time.Hour)
			w.edit(content)
			state := w.state()
			pass(minute)
			base, err := snapshot.New(w.base, rolled(t, "one-expired"))
			require.NoError(t, err)
			next, err := snapshot.New(w.latest, rolled(t, content+"-expired"), base)
			require.NoError(t, err)
			w.put(server.Group{Name: "egress", Snapshot: next, Stable: base, AtOnce: true, Rollout: w.rollout})
			first := 0
			for _, has := range w.have() {
				if has == content+"-expired" {
					first++
					continue
				}
				require.Equal(t, "one-expired", has)
			}
			require.Equal(t, state, w.state())
			if content == "bad" {
				require.Zero(t, first)
				require.Equal(t, uint64(1), w.status().Totals.RolloutsStopped)
				return
			}
			require.Equal(t, 1, first)
			w.base = base
			// Only what the others have.
			base, err = snapshot.New(w.base, rolled(t, "one-expired-more"))
			require.NoError(t, err)
			w.put(server.Group{Name: "egress", Snapshot: w.latest, Stable: base, AtOnce: true, Rollout: w.rollout})
			w.base = base
			require.Equal(t, map[string]int{"one-expired-more": 3, "two-expired": 1}, tally(w.have()))
			pass(time.Hour - minute - time.Second)
			require.Equal(t, server.RolloutPauses, w.state(), "the pause goes on")
			pass(time.Second)
			w.all("two-expired")

			// And without a rollout under way nothing waits.
			next, err = snapshot.New(w.latest, rolled(t, "two-expired-more"))
			require.NoError(t, err)
			w.put(server.Group{Name: "egress", Snapshot: next, AtOnce: true, Rollout: w.rollout})
			w.all("two-expired-more")
			require.Nil(t, w.status().Rollout)

			// With an edit at the same moment what has expired goes at once, and the
			// edit is rolled out.
			w.base = w.latest
			base, err = snapshot.New(w.base, rolled(t, "two-expired-most"))
			require.NoError(t, err)
			next, err = snapshot.New(w.latest, rolled(t, "three"), base)
			require.NoError(t, err)
			w.put(server.Group{Name: "egress", Snapshot: next, Stable: base, Rollout: w.rollout})
			require.Equal(t, map[string]int{"two-expired-most": 3, "three": 1}, tally(w.have()))
		})
	}
}

func tally(have map[string]string) map[string]int {
	out := make(map[string]int)
	for _, content := range have {
		out[content]++
	}
	return out
}
