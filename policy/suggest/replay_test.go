package suggest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/suggest"
)

// TestReplayIsDecide replays random observations, and asks both policies one by one.
func TestReplayIsDecide(t *testing.T) {
	refused, widened := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var results [2]policy.Result
		for i := range results {
			mode := rapid.SampledFrom([]string{"", "  mode: Audit\n"}).Draw(t, "mode")
			results[i] = policy.LoadTree(source.NewTree([]source.File{
				file("gateway.yaml", gateway("egress", "td", mode)+"---\n"+gateway("second", "td", "")), file("policies.yaml", drawPolicies(t)),
			}), now)
			if results[i].Model == nil {
				return
			}
		}
		m, older := results[0].Model, results[1].Model
		if rapid.Bool().Draw(t, "without the old one") {
			older = nil
		}
		observed := rapid.SliceOfN(rapid.Custom(rapid.SampledFrom([]func(*rapid.T) suggest.Observation{familiar, observation}).Draw(t, "kind")), 4, 20).Draw(t, "observed")
		got := suggest.ReplayAll(m, older, observed)
		counts := make(map[suggest.Replay]uint64) // by all but times and numbers
		undecided := make(map[suggest.Replay]bool)
		answer := func(m *model.Model, o suggest.Observation, name hostname.Name) suggest.Answer {
			g := m.FindGateway(o.Group)
			if g == nil {
				return suggest.Answer{Reason: suggest.NoGateway}
			}
			d := g.Enforcing().Answer(model.Request{Principal: o.Principal, Way: o.Via, Host: name})
			a := suggest.Answer{Verdict: d.Verdict, Reason: d.Reason}
			if d.Rule != nil {
				a.Rule = d.Rule.ID.String()
			}
			return a
		}
		for _, o := range observed {
			name, err := hostname.FromWire(o.Host)
			switch o.Reason {
			case "private-address", "no-address", "bad-server-name":
				undecided[suggest.Replay{Group: o.Group, Principal: o.Principal, Host: strings.ToLower(o.Host), Via: o.Via}] = true
				continue
			}
			if err != nil {
				undecided[suggest.Replay{Group: o.Group, Principal: o.Principal, Host: strings.ToLower(o.Host), Via: o.Via}] = true
				continue
			}
			r := suggest.Replay{Group: o.Group, Principal: o.Principal, Host: string(name), Via: o.Via, Before: suggest.Answer{Verdict: o.Verdict, Reason: o.Reason}, After: answer(m, o, name)}
			if older != nil {
				r.Before = answer(older, o, name)
			}
			if r.Before.Verdict != r.After.Verdict {
				counts[r] += o.Count
			}
		}
		for _, list := range [][]suggest.Replay{got.Refused, got.Allowed} {
			for _, r := range list {
				for _, a := range []*suggest.Answer{&r.Before, &r.After} {
					if a.Position != nil {
						require.NotEmpty(t, a.Position.File)
						require.Positive(t, a.Position.Line)
						a.Position = nil
					}
					require.False(t, a.Rule != "" && a.Reason != model.AllowRule && a.Reason != model.DenyRule)
				}
				require.False(t, r.First.IsZero() || r.Last.Before(r.First))
				count := r.Count
				r.Count, r.First, r.Last = 0, suggest.Replay{}.First, suggest.Replay{}.Last
				want, ok := counts[r]
				require.True(t, ok, "%+v", r)
				require.Equal(t, want, count)
				delete(counts, r)
			}
		}
		require.Empty(t, counts)
		require.Equal(t, len(undecided), got.Undecided)
		for _, r := range got.Refused {
			require.Equal(t, []model.Verdict{model.Allow, model.Deny}, []model.Verdict{r.Before.Verdict, r.After.Verdict})
			refused++
		}
		for _, r := range got.Allowed {
			require.Equal(t, []model.Verdict{model.Deny, model.Allow}, []model.Verdict{r.Before.Verdict, r.After.Verdict})
			widened++
		}
	})
	t.Logf("%d refused, %d allowed", refused, widened)
	require.Positive(t, refused)
	require.Positive(t, widened)
}
