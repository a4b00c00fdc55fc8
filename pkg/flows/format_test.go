package flows

import (
	"encoding/json"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

// hostile are strings that a terminal or a log reader would obey.
var hostile = []string{
	"\x1b[31mred\x1b[0m", "a\nb", "a\r", "\x00", "\x7f", "\u009b31m", "\u202egro.aidepikiw", "\u2028", "a b", "\xff\xfe", "\U000e0001", "\ufeff",
}

func draw(t *rapid.T, name string) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom(hostile)).Draw(t, name)
}

func TestNothingFromTheNetworkReachesTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record("policy", "refused", denyNone, draw(t, "host"))
		r.Stage = rapid.SampledFrom([]string{"entry", "route", "policy"}).Draw(t, "stage")
		r.Gateway, r.Source, r.SourcePrincipal = draw(t, "gateway"), draw(t, "source"), draw(t, "principal")
		r.Chain = rapid.SampledFrom([]string{"refused", okGrant, draw(t, "chain"), "x|ns[" + draw(t, "ns") + "]-policy[p]-rule[0]|y"}).Draw(t, "which chain")
		r.TerminationDetails = rapid.SampledFrom([]string{"", denyNone, draw(t, "details"),
			"rbac_access_denied_matched_policy[ns[x]-policy[" + draw(t, "policy") + "]-rule[0]]"}).Draw(t, "which details")
		r.UpstreamFailure, r.DownstreamFailure = draw(t, "upstream failure"), draw(t, "downstream failure")
		f := Attribute(r, nil)

		for _, c := range f.Text() {
			require.True(t, unicode.IsPrint(c), "%q in %q", c, f.Text())
		}
		line, err := json.Marshal(f)
		require.NoError(t, err)
		require.True(t, utf8.Valid(line))
		for _, c := range string(line) {
			require.True(t, unicode.IsPrint(c), "%q in %q", c, line)
		}
		var back struct{ RequestedServerName, SourcePrincipal string }
		require.NoError(t, json.Unmarshal(line, &back))
		require.Equal(t, string([]rune(f.RequestedServerName)), back.RequestedServerName)
	})
}

func TestJSONKeepsItsOrder(t *testing.T) {
	line, err := json.Marshal(Attribute(record("policy", okGrant, "", "ok.test"), gateway(t, testPolicy())))
	require.NoError(t, err)
	require.Equal(t, `{"level":"info","time":"2026-11-22T17:01:44.470351Z","instance":"egress","connectionEvent":"close",`+
		`"requestedServerName":"ok.test","source":"10.0.0.7:4711","sourcePrincipal":"cluster.local/ns/default/sa/sleep-us",`+
		`"sourceNamespace":"default","sourceWorkload":"sleep-us","verdict":"Allow","reason":"allow-rule",`+
		`"policy":"w","policyNamespace":"default","rule":"ns[default]-policy[w]-rule[0]","file":"w.yaml","line":6,`+
		`"bytesReceived":0,"bytesSent":0,"durationMilliseconds":0,"connection":"c"}`, string(line))
}

func TestTheZeroFlowIsARefusal(t *testing.T) {
	var f Flow
	require.True(t, f.Refused())
	require.Equal(t, model.Deny, f.Verdict)
}

func TestUnits(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_250_000: "1.2 MB", 18e18: "18.0 EB"} {
		require.Equal(t, want, Size(n))
	}
	for n, want := range map[uint64]string{0: "0 ms", 999: "999 ms", 1500: "1.5 s", 59_999: "60.0 s", 7_200_000: "120 min"} {
		require.Equal(t, want, Duration(n))
	}
}
