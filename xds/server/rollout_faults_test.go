package server_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/xds/server"
)

// A gateway that goes before it has accepted is waited for; one that does so twice
// may crash, and stops the rollout.
func TestRolloutLosesTheFirst(t *testing.T) {
	start := func(t *testing.T, w *works) string {
		w.edit("one")
		w.add(numbered(4)...)
		pass(15 * minute)
		w.all("one")
		first := w.firstOf("two")
		w.gateways[first].say(true, false)
		w.edit("two")
		return first
	}
	rollout := server.Rollout{Count: 1, Timeout: 5 * minute}

	t.Run("and it comes back", func(t *testing.T) {
		inWorks(t, rollout, func(t *testing.T, w *works) {
			g := w.gateways[start(t, w)]
			g.disconnect()
			pass(20 * time.Second)
			require.Empty(t, w.first(), "its place is kept")
			require.Equal(t, g.id, w.status().Rollout.WaitsFor)
			g.say(false, false)
			g.connect()
			pass(0)
			w.all("two")
		})
	})
	t.Run("and it goes again", func(t *testing.T) {
		inWorks(t, rollout, func(t *testing.T, w *works) {
			g := w.gateways[start(t, w)]
			for range 2 {
				g.crash()
				pass(time.Second)
				g.connect()
				pass(time.Second)
			}
			r := w.status().Rollout
			require.Equal(t, server.RolloutStopped, r.State)
			require.Equal(t, g.id, r.Node)
			require.Equal(t, g.id+" was given it, and went away, 2 times: it may crash", r.Reason)
			g.say(false, false)
			pass(minute)
			w.all("one")
			for _, other := range w.gateways {
				require.Equal(t, other == g, slices.Contains(other.was(), "two"))
			}
		})
	})
	t.Run("and it does not come back, nor does the next", func(t *testing.T) {
		inWorks(t, rollout, func(t *testing.T, w *works) {
			first := start(t, w)
			for _, g := range w.gateways {
				g.say(true, false)
			}
			w.gateways[first].stop()
			pass(29 * time.Second)
			require.Empty(t, w.first())
			pass(time.Second)
			second := w.first()
			require.Len(t, second, 1)
			w.gateways[second[0]].stop()
			pass(minute)
			require.Equal(t, server.RolloutStopped, w.state())
			require.Contains(t, w.status().Rollout.Reason, "has not come back; nor has the one before")
			for _, g := range w.gateways {
				require.NotContains(t, g.was(), "two")
			}
		})
	})
	t.Run("and it only restarts now and then", func(t *testing.T) {
		inWorks(t, server.Rollout{Count: 1, Pause: 10 * minute, Timeout: minute}, func(t *testing.T, w *works) {
			first := start(t, w)
			g := w.gateways[first]
			g.say(false, false)
			pass(5 * minute)
			g.disconnect() // the connection is cut: it still has it
			pass(time.Second)
			g.connect()
			pass(5*minute - 2*time.Second)
			require.Equal(t, server.RolloutPauses, w.state())
			pass(time.Second)
			w.all("two")

			w.edit("three")
			pass(5 * minute)
			g.crash() // it starts anew: so does the pause
			g.connect()
			pass(6 * minute)
			require.Equal(t, server.RolloutPauses, w.state())
			pass(4 * minute)
			w.all("three")

			w.edit("four")
			for range 2 {
				pass(minute)
				g.crash()
				g.connect()
			}
			pass(0)
			require.Equal(t, server.RolloutStopped, w.state())
			w.all("three")
		})
	})
}

// A gateway that does not answer stops the rollout in the end.
func TestRolloutIsNotAnswered(t *testing.T) {
	inWorks(t, server.Rollout{Count: 1, Pause: minute, Timeout: 90 * time.Second}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add(numbered(3)...)
		pass(5 * minute)
		first := w.firstOf("two")
		w.gateways[first].say(true, false)
		w.edit("two")
		require.Equal(t, time.Now().Add(90*time.Second), w.status().Rollout.Until)
		pass(89 * time.Second)
		require.Equal(t, server.RolloutWaits, w.state())
		pass(time.Second)
		require.Equal(t, server.RolloutStopped, w.state())
		require.Equal(t, first+" has not accepted it within 1m30s", w.status().Rollout.Reason)
		w.gateways[first].say(false, false)
		w.all("one")
	})
}

// Without a gateway an edit waits for one.
func TestRolloutWithoutGateways(t *testing.T) {
	inWorks(t, server.Rollout{Percent: 10, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.edit("two")
		pass(time.Hour)
		require.Equal(t, server.RolloutWaits, w.state())
		require.Equal(t, "generation 2 waits for a gateway that is the first", w.status().Rollout.String())
		w.add("gateway-0")
		require.Equal(t, map[string]string{"gateway-0": "two"}, w.have())
		// One that has just started has nothing, so there is nothing to hold back
		// once the first has accepted.
		w.add("gateway-1")
		w.all("two")
		pass(minute)
		require.Nil(t, w.status().Rollout)
	})
}

// What a gateway rejected before is not held against what is new.
func TestRolloutAndOldRejections(t *testing.T) {
	inWorks(t, server.Rollout{Count: 1, Timeout: minute}, func(t *testing.T, w *works) {
		w.edit("one")
		w.add("gateway-0", "gateway-1")
		pass(minute)
		first := w.firstOf("two")
		g := w.gateways[first]
		g.say(false, true)
		g.crash()
		g.connect()
		pass(0)
		require.True(t, w.status().Rejecting > 0)
		// It rejects the listener that it has rejected all along; the edit is about
		// another.
		s := w.next("one")
		require.NotNil(t, s)
		g.say(false, false)
		w.edit("two")
		w.all("two")
		require.Nil(t, w.status().Rollout)
	})
}

// Another process takes over in the middle. Who had it keeps it, nobody else gets it
// before they are heard; whether what was before is known or not.
func TestRolloutThroughARestart(t *testing.T) {
	for _, remembers := range []bool{true, false} {
		t.Run(fmt.Sprintf("remembers %t", remembers), func(t *testing.T) {
			inWorks(t, server.Rollout{Count: 1, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
				w.edit("one")
				w.add(numbered(5)...)
				pass(2 * minute)
				w.edit("two")
				first := w.first()
				pass(30 * time.Second)
				responses := w.responses()
				w.restart(remembers)
				pass(minute - time.Second)
				require.Equal(t, first, w.first())
				for id, g := range w.gateways {
					require.Equal(t, responses[id], g.responses, "%s was sent something", id)
				}
				require.Equal(t, server.RolloutPauses, w.state(), "the pause starts anew")
				if !remembers {
					// One that has nothing need not wait for the pause.
					w.add("newcomer")
					require.Equal(t, "two", w.gateways["newcomer"].content())
				}
				pass(time.Second)
				w.all("two")

				// All have it: nothing is rolled out, and nothing sent.
				w.settle()
				responses = w.responses()
				w.restart(remembers)
				pass(2 * minute)
				require.Nil(t, w.status().Rollout)
				for id, g := range w.gateways {
					require.Equal(t, responses[id], g.responses, "%s was sent something", id)
				}
			})
		})
	}
	t.Run("and it is rejected", func(t *testing.T) {
		inWorks(t, server.Rollout{Percent: 20, Pause: minute, Timeout: minute}, func(t *testing.T, w *works) {
			w.edit("one")
			w.add(numbered(10)...)
			pass(2 * minute)
			w.edit("bad")
			require.Equal(t, server.RolloutStopped, w.state())
			for _, remembers := range []bool{true, false} {
				w.restart(remembers)
				pass(5 * minute)
				require.Equal(t, server.RolloutStopped, w.state())
				w.all("one")
			}
		})
	})
}

// TestRolloutsWhateverHappens: edits, good and bad, gateways and processes that come
// and go at any time. Who is not among the first never gets what one that is there
// has not accepted (works.sent), no cluster goes before its listener, all go back
// after a rejection, and in the end all have the same.
func TestRolloutsWhateverHappens(t *testing.T) {
	for i := range 150 {
		seed := rand.Uint64()
		if !t.Run(fmt.Sprintf("%d/seed=%d", i, seed), func(t *testing.T) { anything(t, rand.New(rand.NewPCG(seed, 1))) }) {
			return
		}
	}
}

func anything(t *testing.T, r *rand.Rand) {
	rollout := server.Rollout{Count: 1 + r.IntN(3), Timeout: time.Duration(1+r.IntN(3)) * minute}
	if r.IntN(2) == 0 {
		rollout.Count, rollout.Percent = 0, []int{1, 20, 50, 100}[r.IntN(4)]
	}
	rollout.Pause = []time.Duration{0, time.Second, 2 * minute}[r.IntN(3)]
	inWorks(t, rollout, func(t *testing.T, w *works) {
		w.edit("c0")
		ids := numbered(8)
		w.add(ids[:1+r.IntN(8)]...)
		pass(10 * minute)
		w.all("c0")
		for n := 1; n <= 25; n++ {
			id := ids[r.IntN(len(ids))]
			g := w.gateways[id]
			what := r.IntN(12)
			t.Log(n, what, id, w.have(), w.state(), w.first())
			switch {
			case what < 3:
				w.edit(fmt.Sprintf("c%d", n))
			case what == 3:
				w.edit(fmt.Sprintf("bad%d", n))
			case what == 4 && g == nil:
				w.add(id)
			case what == 5 && g != nil:
				g.disconnect()
				pass(time.Duration(r.IntN(3)) * 20 * time.Second)
				g.connect()
			case what == 6 && g != nil:
				g.crash()
				g.connect()
			case what == 7 && g != nil:
				g.say(true, false)
			case what == 8 && g != nil:
				g.say(false, false)
			case what == 9 && g != nil && len(w.gateways) > 1:
				g.stop()
			case what == 10 && r.IntN(3) == 0:
				w.restart(r.IntN(2) == 0)
			default:
				pass(time.Duration(r.IntN(90)) * time.Second)
			}
			pass(0)
			require.Empty(t, w.wrong)
			w.settle()
		}
		for _, g := range w.gateways {
			g.say(false, false)
		}
		pass(10 * minute)
		if w.state() == server.RolloutStopped {
			for id, has := range w.have() {
				require.NotContains(t, has, "bad", id)
			}
		}
		w.edit("last")
		pass(10 * minute)
		w.all("last")
		require.Nil(t, w.status().Rollout)
		w.edit("bad-last")
		pass(10 * minute)
		w.all("last")
		require.Equal(t, server.RolloutStopped, w.state())
		w.edit("very-last")
		pass(10 * minute)
		w.all("very-last")
	})
}
