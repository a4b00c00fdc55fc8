package differential

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

// A real Envoy takes rules with conditions as the policy means them, for
// everyone: also for the anonymous principal, who has no filter state that
// anything could be compared with, and for whom what is negated holds.
func TestEnvoyAgreesOnConditions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	certificates, authority := issued(t)
	g := compiled(t, conditionalDocuments())
	s := &setup{ctx: ctx, authority: authority, random: rand.New(rand.NewPCG(1, 1)), shown: show(conditionalDocuments())}
	s.run(t, g, certificates)
	defer s.stop(t)
	total, anonymous := tally{}, tally{}
	for _, c := range s.callers() {
		for _, e := range s.gateway.Entries {
			a := s.attempt(t, c, e.Pattern.Base())
			allowed := !a.stranger && g.DecideWire(a.principal, a.name).Verdict == model.Allow
			require.Equal(t, allowed, a.want.Connected, "%+v", a)
			v := s.try(t, a)
			total.add(v)
			if c.principal == "" {
				anonymous.add(v)
			}
		}
	}
	t.Logf("%+v, and of the anonymous %+v", total, anonymous)
	require.Positive(t, anonymous.connected)
	require.Positive(t, anonymous.refused)
}
