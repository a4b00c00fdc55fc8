package translate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

func TestTLSRules(t *testing.T) {
	rule := func(via model.Via, hosts ...hostname.Name) *model.Rule {
		r := &model.Rule{ID: model.RuleID{Policy: "p"}, Via: via, From: []model.PrincipalMatch{{Kind: model.MatchAny}}}
		for _, h := range hosts {
			r.To = append(r.To, model.To{Hosts: []hostname.Pattern{hostname.Exactly(h)}})
		}
		return r
	}
	other := rule(0, "c.test")
	other.ID.Index = 1
	a, b, http := rule(model.ViaTLS, "a.test"), rule(0, "b.test"), rule(model.ViaHTTP, "d.test")
	whole := rule(model.ViaTLS, "a.test", "b.test")

	var builder builder
	require.Equal(t, []*model.Rule{whole, other}, builder.tlsRules([]*model.Rule{http, a, other, b}))
	require.Equal(t, rule(model.ViaTLS, "a.test"), a, "the model is not changed")
	require.Empty(t, builder.tlsRules([]*model.Rule{http}))
	require.NoError(t, builder.err)

	for what, spoil := range map[string]func(*model.Rule){
		"action":     func(r *model.Rule) { r.Action = model.Allow },
		"principals": func(r *model.Rule) { r.From = []model.PrincipalMatch{{Value: "spiffe://td/x"}} },
		"conditions": func(r *model.Rule) { r.Who = model.Who{} },
	} {
		t.Run(what, func(t *testing.T) {
			spoilt := rule(0, "b.test")
			spoil(spoilt)
			builder.err = nil
			builder.tlsRules([]*model.Rule{a, spoilt})
			require.ErrorContains(t, builder.err, "ns[]-policy[p]-rule[0]")
		})
	}
}
