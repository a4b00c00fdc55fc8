package differential

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// The check is made twice: were the matchers to send connections anywhere, the
// RBAC filters of the chain alone would let nothing pass that the policy does
// not allow.
func TestTheChainsAloneAllowNothingMore(t *testing.T) {
	admitted := 0
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		g := compiled(t, docs)
		envoy := read(t, translated(t, g))
		public := publicAddresses("")[0]
		for _, at := range envoy.Chains() {
			if !strings.HasPrefix(at.Listener, "policy/") {
				continue // the route stage only leads on
			}
			for _, principal := range principals() {
				state := map[string]string{}
				if principal != "" {
					state[translate.PrincipalKey] = principal
				}
				for _, name := range meantNames(g) {
					ok, err := envoy.Admits(at, state, name, public)
					require.NoError(t, err)
					if !ok {
						continue
					}
					admitted++
					if d := g.Decide(principal, hostname.Name(name)); d.Verdict != model.Allow {
						t.Fatalf("%v admits %q to %s: %s\n%s", at, principal, name, describe(d), show(docs))
					}
				}
			}
		}
	})
	require.Greater(t, admitted, 100)
}
