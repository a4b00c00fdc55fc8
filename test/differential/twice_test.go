package differential

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// The check is made twice: were the matchers to send connections anywhere, the
// RBAC filters of the chain alone would let nothing pass that the policy does
// not allow, nor what the rule of the chain is not about.
func TestTheChainsAloneAllowNothingMore(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		g := compiled(t, docs)
		problem, err := admitted(g, read(t, translated(t, g)), func() { count++ })
		require.NoError(t, err)
		if problem != "" {
			t.Fatalf("%s\n%s", problem, show(docs))
		}
	})
	require.Greater(t, count, 100)
}

// admitted says what a filter chain of the policy stage would let pass that it
// must not, or nothing.
func admitted(g *model.Gateway, envoy *reader.Gateway, each func()) (string, error) {
	return admittedTo("policy/", model.ViaTLS, g, envoy, each)
}

// admittedTo says it of the stage whose listeners begin like this, which is for
// one way of asking.
func admittedTo(stage string, via model.Via, g *model.Gateway, envoy *reader.Gateway, each func()) (string, error) {
	public := publicAddresses("")[0]
	for _, at := range envoy.Chains() {
		if !strings.HasPrefix(at.Listener, stage) {
			continue // the route stage only leads on
		}
		for _, principal := range principals() {
			state := map[string]string{}
			if principal != "" {
				state[translate.PrincipalKey] = principal
			}
			for _, name := range meantNames(g) {
				ok, err := envoy.Admits(at, state, name, public)
				if err != nil {
					return "", err
				}
				if !ok {
					continue
				}
				each()
				d := g.DecideVia(via, principal, hostname.Name(name))
				if via == model.ViaHTTP && (d.Entry == nil || d.Entry.Dial.Originate == nil) {
					continue // the two stages before this one refuse it, whosoever asks
				}
				if d.Verdict != model.Allow && sharedAndElsewhere(at, envoy, name) {
					continue
				}
				if d.Verdict != model.Allow {
					return fmt.Sprintf("%v admits %q to %s: %s", at, principal, name, describe(d)), nil
				}
				grant, err := translate.ParseGrantName(at.Chain)
				if err != nil {
					return "", err
				}
				if grant.Rule == nil {
					continue
				}
				if r, _ := g.FindRule(*grant.Rule); !r.Matches(principal) {
					return fmt.Sprintf("%v admits %q, for whom the rule is not", at, principal), nil
				}
			}
		}
	}
	return "", nil
}

// sharedAndElsewhere is of a chain that a bucket has for all that mode Audit lets
// through in it, and a name of another bucket, which is not told apart by it.
func sharedAndElsewhere(at reader.Step, envoy *reader.Gateway, name string) bool {
	if !strings.HasSuffix(at.Chain, "|audit-mode|shared") {
		return false
	}
	v, err := envoy.Connect(reader.Connection{
		Entry: "entry/anyone", Source: netip.MustParseAddrPort("203.0.113.1:40000"), Hello: &reader.Hello{ServerName: name},
	}, publicAddresses)
	_, bucket, _ := strings.Cut(at.Listener, "/")
	return err == nil && v.Last().Listener != "policy/"+bucket
}
