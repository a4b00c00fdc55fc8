package flows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

const sleepUS = "spiffe://cluster.local/ns/default/sa/sleep-us"

// However a line was kept, it says the same.
func TestAskedIsTheSameInEveryForm(t *testing.T) {
	m := &model.Model{Gateways: []*model.Gateway{gateway(t, testPolicy())}}
	for name, tc := range map[string]struct {
		line string
		want Asked
	}{
		"refused TLS": {
			asJSON(t, record("route", "refused", denyNone, "no.test")),
			Asked{Host: "no.test", Reason: model.NotRegistered},
		},
		"allowed TLS": {
			asJSON(t, record("policy", okGrant, "", "ok.test")),
			Asked{Host: "ok.test", Verdict: model.Allow, Reason: model.AllowRule, Rule: "ns[default]-policy[w]-rule[0]"},
		},
		"no server name": {
			asJSON(t, record("route", "refused", denyNone, "")),
			Asked{Reason: model.NoServerName},
		},
		"CONNECT": {
			requestLine("CONNECT", "ok.test:22", 403, denial("port-not-allowed"), "no-allow-rule", "-"),
			Asked{Way: model.WayConnect, Host: "ok.test:22", Reason: model.PortNotAllowed},
		},
		"plain": {
			requestLine("GET", "ok.test", 403, denial("tls-not-originated"), "no-allow-rule", "-"),
			Asked{Way: model.WayHTTP, Host: "ok.test", Reason: model.NotOriginated},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, ok, err := Read([]byte(tc.line), m)
			require.NoError(t, err)
			require.True(t, ok)
			flow, err := json.Marshal(f)
			require.NoError(t, err)
			for form, line := range map[string]string{
				"Envoy's": tc.line, "JSON": string(flow), "text": f.Text(), "with a prefix": "gateway-1  | " + f.Text(), "of a container": "gateway-1  | " + string(flow),
			} {
				got, err := ReadAsked([]byte(line), m)
				require.NoError(t, err, "%s: %s", form, line)
				require.WithinDuration(t, f.Time, got.Time, 1e6)
				got.Time = tc.want.Time
				tc.want.Gateway, tc.want.Principal = "egress", sleepUS
				require.Equal(t, tc.want, got, "%s: %s", form, line)
			}
		})
	}
}

func asJSON(t *testing.T, r EnvoyRecord) string {
	t.Helper()
	line, err := json.Marshal(r)
	require.NoError(t, err)
	return string(line)
}

func TestNothingWasAsked(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "not a line of a gateway's log",
		"{":                   "unexpected end",
		`{"verdict":"Allow"}`: "it has no stage",
		`{"instance":"egress","verdict":"Perhaps"}`:              "a verdict is Allow or Deny",
		asJSON(t, record("entry", "", "", "")):                   "ended before it asked for a host (tls-handshake",
		requestLine("", "", 400, "http1.codec_error", "", "DPE"): "ended before it asked for a host (bad-request",
	} {
		_, err := ReadAsked([]byte(line), nil)
		require.ErrorContains(t, err, want, line)
	}
}

// Whatever a workload sends, a line of text is read as what it is.
func TestNoServerNamePassesForAnotherLine(t *testing.T) {
	forged := "2026-11-22T17:01:44.470Z Allow cluster.local/ns/a/sa/b → ok.test (egress): allow-rule"
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.SampledFrom(strings.SplitAfter(forged, " ")), rapid.SampledFrom(hostile), rapid.StringN(0, 5, -1))
		host := strings.Join(rapid.SliceOfN(part, 1, 12).Draw(t, "parts"), "")
		f := Attribute(record("policy", "refused", denyNone, host), nil)
		got, err := ReadAsked([]byte(f.Text()), nil)
		require.NoError(t, err, f.Text())
		require.Equal(t, model.Deny, got.Verdict)
		require.Equal(t, host, got.Host)
	})
}
