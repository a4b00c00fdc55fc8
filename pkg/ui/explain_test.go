package ui_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/ui"
	"sallyport/policy/model"
)

const sleepUS = "spiffe://cluster.local/ns/default/sa/sleep-us"

func TestExplain(t *testing.T) {
	s := newSite(t, wikipedia(t))
	require.NotContains(t, s.page("/ui/explain"), "badge", "nothing was asked")
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"principal=" + sleepUS + "&host=en.wikipedia.org", []string{"Allowed", "allow-rule", "decides", `path=teams%2Fwikipedia.yaml#L9"`, "en.wikipedia.org, port 443"}},
		{"principal=cluster.local/ns/default/sa/sleep-us&host=EN.Wikipedia.org.", []string{"Allowed", "allow-rule"}},
		{"principal=" + sleepUS + "&host=de.wikipedia.org", []string{"Refused", "deny-rule", `#L12"`}},
		{"principal=" + sleepUS + "&host=audit.example.com", []string{"Refused", "host-not-registered", "Rules in audit mode", "With audit policies</dt><dd><span class=\"badge good\">"}},
		{"anonymous=on&host=en.wikipedia.org", []string{"Refused", "<em>anonymous</em>"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org&way=CONNECT", []string{"Allowed", "The request", "The TLS inside", "en.wikipedia.org:443"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org&way=HTTP", []string{"Refused", "tls-not-originated"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org.&logged=on", []string{"Refused", "bad-server-name", "as it came from the network"}},
		{"principal=" + sleepUS + "&host=", []string{"the host that the workload asks for is missing", `aria-invalid="true"`}},
		{"principal=&host=en.wikipedia.org", []string{"Whose access it is about is missing"}},
		{"principal=spiffe://A&host=en.wikipedia.org", []string{"names a trust domain only"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org:443", []string{"with TLS no port is named"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org&gateway=other", []string{"There is no EgressGateway other"}},
		{"principal=" + sleepUS + "&host=en.wikipedia.org&way=UDP", []string{"There is no such way"}},
	} {
		page := s.page("/ui/explain?" + c.query)
		for _, want := range c.want {
			require.Contains(t, page, want, c.query)
		}
	}
}

// A refusal leads to its explanation, whatever was asked for.
func TestExplainRefusal(t *testing.T) {
	s := newSite(t, wikipedia(t))
	s.saw(flows.Flow{
		Instance: "egress", SourcePrincipal: "cluster.local/ns/default/sa/sleep-us", RequestedServerName: "a b&c=<script>alert(1)</script>", Reason: model.BadServerName,
	})
	require.Contains(t, s.page("/ui/"), "Explain<span")
	page := s.page(ui.ExplainAddress("egress", "cluster.local/ns/default/sa/sleep-us", "TLS", "a b&c=<script>alert(1)</script>", true))
	require.Contains(t, page, "bad-server-name")
	require.Contains(t, page, "a b&amp;c=&lt;script&gt;alert(1)")
	require.NotContains(t, page, "<script>alert")
	hostile := url.Values{"principal": {`"><script>alert(1)</script>`}, "host": {`"><script>alert(1)</script>`}, "gateway": {"<script>alert(1)</script>"}}
	require.NotContains(t, s.page("/ui/explain?"+hostile.Encode()), "<script>alert")
}
