package ui_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

func TestOverview(t *testing.T) {
	c := wikipedia(t)
	c.status.Status = aFleet(3).Status
	c.status.History = []control.InForce{{Digest: "0123456789ab", Generation: 3, At: at()}, {Digest: "ba9876543210", Generation: 2, At: at().Add(-time.Hour)}}
	s := newSite(t, c)
	s.saw(
		flows.Flow{Instance: "egress", Reason: model.DenyRule, Rule: rule("1"), RequestedServerName: "de.wikipedia.org", File: "teams/wikipedia.yaml", Line: 12},
		flows.Flow{Verdict: model.Allow, Reason: model.AllowRule, Rule: rule("0"), RequestedServerName: "en.wikipedia.org"},
	)
	page := s.page("/ui/")
	for _, want := range []string{
		"generation 3", "4 of 7 current", "3 files", "1 expiring within 14 days", "1 with unused rules", "1 certificate due", "ba9876543210",
		`<td class="mono">de.wikipedia.org</td><td>deny-rule</td><td><a class="mono" href="/ui/policies/file?path=teams%2Fwikipedia.yaml#L12">`,
		`href="/ui/explain?anonymous=on&amp;gateway=egress&amp;host=de.wikipedia.org&amp;logged=on&amp;principal="`,
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, `<td class="mono">en.wikipedia.org</td>`)
	require.Regexp(t, `(?s)Gateways that are not current.*>refuses<.*gets nothing.*>late<`, page)

	// Before the first policy.
	empty := newSite(t, &fixed{status: control.Status{Reason: "no policy was published yet"}}).page("/ui/")
	require.Contains(t, empty, "nothing yet")
	require.Contains(t, empty, "no policy was published yet")
}
