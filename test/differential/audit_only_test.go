package differential

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// Switching a group from mode Audit to mode Enforce closes the connections that would
// be refused now, and no other; switching it back closes none.
func TestSwitchingTheMode(t *testing.T) {
	closed, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		docs := originating().Draw(t, "documents")
		docs.Gateways[0].Mode = syntax.Audit
		other := copied(docs)
		other.Gateways[0].Mode = syntax.Enforce
		audit, enforce := translated(t, compiled(t, docs)), translated(t, compiled(t, other))
		require.Empty(t, drained(drainable(t, enforce), drainable(t, audit)))

		changed := make(map[where]bool)
		for _, w := range drained(drainable(t, audit), drainable(t, enforce)) {
			changed[w] = true
		}
		open, now := read(t, audit), read(t, enforce)
		g := compiled(t, docs)
		for _, c := range callers(g) {
			for _, name := range append(meantNames(g), "nobody-knows.test") {
				c.from.Hello = &reader.Hello{ServerName: name}
				before, err := open.Connect(c.from, publicAddresses)
				require.NoError(t, err)
				if !before.Connected {
					continue
				}
				after, err := now.Connect(c.from, publicAddresses)
				require.NoError(t, err)
				require.Equal(t, !after.Connected, drains(changed, before.Path), "%s to %s in %v\n%s", c.principal, name, before.Path, show(docs))
				if after.Connected {
					kept++
				} else {
					closed++
				}
			}
		}
	})
	t.Logf("%d connections closed, %d kept", closed, kept)
	require.Greater(t, closed, 100)
	require.Greater(t, kept, 100)
}

// In mode Audit an edit of rules closes nothing that is let through without a rule: that
// is in chains that depend on no rule, where every Destination is exported to everyone.
func TestRulesCloseNothingThatIsAudited(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		docs.Gateways[0].Mode, docs.Gateways[0].AllowAny, docs.Gateways[0].DefaultAction = syntax.Audit, false, model.Deny
		for _, d := range docs.Destinations {
			d.ExportTo = nil
		}
		other := copied(docs)
		other.Policies = append(other.Policies, aPolicy("new").Draw(t, "another policy"))
		before, after := translated(t, compiled(t, docs)), translated(t, compiled(t, other))
		for _, w := range drained(drainable(t, before), drainable(t, after)) {
			if grant, err := translate.ParseGrantName(w.chain); err == nil {
				require.False(t, grant.Audit, "adding a policy closes connections of %v\n%s", w, show(other))
			}
		}
	})
}
