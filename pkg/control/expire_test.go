package control_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/policy"
	"sallyport/policy/model"
)

// temporary is a directory with a grant that runs out, and a Deny rule that
// does, at a moment.
func temporary(t *testing.T, content string, end time.Time) func(now time.Time) policy.Result {
	t.Helper()
	return func(now time.Time) policy.Result {
		if !now.Before(end) {
			return good(content, gateway(t, "east", "a.example=stays"))
		}
		g := gateway(t, "east", "a.example=stays,grant,denial")
		expires(g, "grant", end, model.Allow)
		expires(g, "denial", end, model.Deny)
		l := good(content, g)
		l.Model.Expiries = []time.Time{end}
		return l
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		end := time.Now().Add(time.Hour)
		p.becomesOverTime(temporary(t, "1", end))
		before := p.served("east")

		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		require.Equal(t, before, p.served("east"))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, uint64(2), p.served("east").Generation, "without any change of the files")
		require.Equal(t, []string{"stays"}, rules(p.Model()))
		require.False(t, p.Status().Curtailed)

		loads := p.looks()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Equal(t, loads, p.looks(), "no timer is left")
	})
}

func rules(m *model.Model) []string {
	var out []string
	for _, g := range m.Gateways {
		for _, e := range g.Entries {
			for _, r := range e.Rules {
				out = append(out, r.ID.Policy)
			}
		}
	}
	return out
}

// A mistake in a file does not keep a grant alive. The expired Deny rule stays
// until the directory compiles again.
func TestExpiryWhileTheDirectoryIsBroken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		end := time.Now().Add(time.Hour)
		directory := temporary(t, "1", end)
		p.becomesOverTime(directory)
		before := p.Model()
		p.becomes(bad("2", "a comma is missing"))
		p.logs.Reset()

		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, uint64(2), p.served("east").Generation)
		require.Equal(t, []string{"stays", "denial"}, rules(p.Model()))
		require.Equal(t, []string{"stays", "grant", "denial"}, rules(before), "what others hold does not change")
		require.True(t, p.Status().Curtailed)
		require.Len(t, p.Status().Errors, 1)
		require.Equal(t, []string{"Allow rules expired while the policy directory is refused, and were taken out of the last good policy"}, p.logged(logrus.WarnLevel))
		loads := p.looks()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Equal(t, loads, p.looks(), "once is enough")

		p.becomesOverTime(directory)
		require.Equal(t, []string{"stays"}, rules(p.Model()), "the same files are compiled anew")
		require.False(t, p.Status().Curtailed)
		require.Empty(t, p.Status().Errors)
	})
}

func TestExpiryOfAnOrphan(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		end := time.Now().Add(time.Hour)
		p.becomesOverTime(temporary(t, "1", end))
		p.becomes(good("2", gateway(t, "west", "b.example=x")))
		before := p.served("east")
		require.True(t, before.Orphaned)
		time.Sleep(time.Hour)
		synctest.Wait()
		after := p.served("east")
		require.True(t, after.Orphaned)
		require.NotEqual(t, before.Versions["listener"], after.Versions["listener"])
		require.Equal(t, uint64(2), p.served("west").Generation)
	})
}

// The clock was set: the next look at the directory notices.
func TestExpiryAfterTheClockWasSet(t *testing.T) {
	t.Parallel()
	var ahead time.Duration
	inBubble(t, func(t *testing.T, p *plant) {
		end := time.Now().Add(time.Hour)
		p.becomesOverTime(temporary(t, "1", end))
		ahead = 2 * time.Hour
		p.rescan()
		require.Equal(t, []string{"stays"}, rules(p.Model()))
	}, func(o *control.Options) {
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	})
}

// Rules that cannot be taken out are tried again, without haste.
func TestExpiryThatFails(t *testing.T) {
	t.Parallel()
	fail := &failures{}
	inBubble(t, func(t *testing.T, p *plant) {
		end := time.Now().Add(time.Hour)
		p.becomesOverTime(temporary(t, "1", end))
		p.becomes(bad("2", "a comma is missing"))
		fail.groups.Store("east", errors.New("cannot"))
		loads := p.looks()
		time.Sleep(time.Hour + 10*time.Second)
		synctest.Wait()
		require.Equal(t, []string{"stays", "grant", "denial"}, rules(p.Model()))
		require.InDelta(t, 11, p.looks()-loads, 1)
		fail.groups.Clear()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"stays", "denial"}, rules(p.Model()))
	}, func(o *control.Options) { o.NewTranslator = func() control.Translator { return plainTranslator{fail} } })
}
