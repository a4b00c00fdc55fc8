package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// TestGatewaySettingsChange: what an EgressGateway says of addresses, DNS and limits
// can be changed while its gateways run, and holds for the next connection. (Envoy
// takes no other settings for a DNS cache that it has: it rejected every listener
// after such an edit.)
func TestGatewaySettingsChange(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en, es))
	r.becomes(lab.Answered, us, en)
	document := r.GatewayDocument()
	site := r.Internet.Origin(en).Address().Addr().String() + "/32"
	for _, tc := range []struct {
		name, from, to string
		en             lab.Outcome
	}{
		{"an address is refused", "addresses: {", "addresses: {refuse: [" + site + "], ", lab.Refused},
		{"and is not any more", "", "", lab.Answered},
		{"an address is no longer allowed", site + ", ", "", lab.Refused},
		{"and is again", "", "", lab.Answered},
		{"no name is an IPv4 address", "family: Auto", "family: V6Only", lab.Refused},
		{"IPv4 alone", "family: Auto", "family: V4Only", lab.Answered},
		{"fewer hosts", "  dns:", "  limits: {hosts: 100, connections: 5000}\n  dns:", lab.Answered},
		{"another time to connect", "  dns:", "  limits: {connectTimeout: 2s}\n  dns:", lab.Answered},
		{"all as it was", "", "", lab.Answered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			changed := document
			if tc.from != "" {
				require.Contains(t, document, tc.from)
				changed = strings.Replace(document, tc.from, tc.to, 1)
			}
			r.write("gateway.yaml", changed)
			got := r.status("--wait", "latest")
			require.Zero(t, got.code, "%+v", got)
			page := r.Workload(us).Get(r.ctx, en, "/")
			require.Equal(t, tc.en, page.Outcome, "%s", page)
		})
	}
	time.Sleep(1200 * time.Millisecond) // what the edits drained is gone
	conn := r.open(us, es, lab.Active)
	r.write("gateway.yaml", document+"\n# a comment\n")
	require.Zero(t, r.status("--wait", "latest").code)
	r.alive(conn)
}
