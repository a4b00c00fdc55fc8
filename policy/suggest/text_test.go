package suggest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/suggest"
)

func pattern(t *testing.T, s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	require.NoError(t, err)
	return p
}

func TestText(t *testing.T) {
	r := loaded(t, file("gateway.yaml", gateway("egress", "td", "")), file("shop.yaml", `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: observed, namespace: shop}
spec:
  owner: shop@example.com
  rules:
  - {action: Allow, from: [{serviceAccount: cart}], to: [{hosts: [pay.example]}]}
  - action: Deny
    to: [{hosts: [bad.example]}]
`))
	deny := model.Deny
	would := suggest.Observation{
		Group: "egress", Principal: "spiffe://td/ns/shop/sa/cart", Host: "new.example", Verdict: model.Allow, AuditVerdict: &deny, AuditReason: model.NoAllowRule,
		First: now.AddDate(0, 0, -7), Last: now, Count: 12,
	}
	observed := append(allowed(
		"td/ns/shop/sa/cart pay.example", "td/ns/shop/sa/cart bad.example",
		"td/ns/shop/sa/one en.wikipedia.org", "td/ns/shop/sa/one de.wikipedia.org", "td/ns/shop/sa/one fr.m.wikipedia.org", "td/ns/shop/sa/one wikipedia.org",
		"td/ns/shop/sa/one fr.wikipedia.org", "td/ns/shop/sa/two en.wikipedia.org", "td/ns/shop/sa/two wikipedia.org",
		"- anybody.example", "td/ns/shop/sa/cart *.evil.example\n- action: Allow", "td/batch/night backup.example", "td/ns/on/sa/off true.example"), would)
	observed[2].Via, observed[2].Count = model.WayHTTP, 0
	s, text := suggested(t, observed, suggest.Options{Model: r.Model, Documents: r.Documents, Folds: []hostname.Pattern{pattern(t, "*.wikipedia.org")}})
	require.Equal(t, 10, s.Pairs)
	require.Equal(t, 1, s.Allowed)
	require.Equal(t, `# Suggested from what was seen: 10 pairs of a workload and a host, from 2026-11-21T12:00Z to 2026-11-28T12:00Z.
# Read it before it is used: what was seen need not be what is meant.
# The policy allows 1 other pair already.
# Left out, 1 pair: a Deny rule is about it
#   "td/ns/shop/sa/cart" to "bad.example": 1 time, 2026-11-28T11:00Z to 2026-11-28T12:00Z, at "shop.yaml:8:5"
# Left out, 1 pair: not a host name
#   "td/ns/shop/sa/cart" to "*.evil.example\n- action: allow": 1 time, 2026-11-28T11:00Z to 2026-11-28T12:00Z
# Left out, 1 pair: who asked has no identity, and a rule for those is one for everyone
#   "" to "anybody.example": 1 time, 2026-11-28T11:00Z to 2026-11-28T12:00Z
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata:
  name: observed
spec:
  rules:
  - action: Allow
    from:
    - {principal: spiffe://td/batch/night}
    to:
    - hosts:
      - backup.example  # 1 time, 2026-11-28T11:00Z to 2026-11-28T12:00Z
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata:
  name: observed
  namespace: "on"
spec:
  rules:
  - action: Allow
    from:
    - {serviceAccount: "off"}
    to:
    - hosts:
      - true.example  # 1 time, 2026-11-28T11:00Z to 2026-11-28T12:00Z
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata:
  name: observed-2
  namespace: shop
spec:
  owner: "shop@example.com"
  rules:
  - action: Allow
    from:
    - {serviceAccount: cart}
    to:
    - hosts:
      - new.example  # 12 times, which would be refused, 2026-11-21T12:00Z to 2026-11-28T12:00Z
  - action: Allow
    from:
    - {serviceAccount: one}
    - {serviceAccount: two}
    to:
    - hosts:
      - wikipedia.org      # 2 times, 2026-11-28T11:00Z to 2026-11-28T12:00Z
      - "*.wikipedia.org"  # 4 times, by plain HTTP: needs a Destination with `+"`tls: Originate`"+`, 2026-11-28T11:00Z to 2026-11-28T12:00Z: de.wikipedia.org, en.wikipedia.org, fr.m.wikipedia.org and 1 more
`, text)
}

// A fold at a public suffix is none; those of policies are only warned of.
func TestCheckFold(t *testing.T) {
	require.NoError(t, suggest.CheckFold(pattern(t, "*.wikipedia.org")))
	for _, bad := range []string{"*", "*.com", "*.co.uk", "*.github.io", "en.wikipedia.org"} {
		require.Error(t, suggest.CheckFold(pattern(t, bad)), bad)
	}
}

// A workload that makes up names has them in comments, of which there are few.
func TestManyHostileNames(t *testing.T) {
	var observed []suggest.Observation
	for i := range 10_000 {
		observed = append(observed, allowed(fmt.Sprintf("td/ns/shop/sa/cart *.x%d.example\n---\nkind: EgressPolicy", i))...)
	}
	observed = append(observed, allowed("td/ns/shop/sa/cart good.example")...)
	s, text := suggested(t, observed, suggest.Options{})
	require.Equal(t, 1, s.Pairs)
	require.Contains(t, text, "and 9980 more")
	require.Less(t, len(text), 10_000)
	r := loaded(t, file("gateway.yaml", gateway("egress", "td", "")), file("observed.yaml", text))
	require.Len(t, r.Documents.Policies, 1)
	require.Len(t, r.Model.Gateways[0].Entries, 1)
}

func TestTenThousandPairs(t *testing.T) {
	var observed []suggest.Observation
	for i := range 10_000 {
		observed = append(observed, allowed(fmt.Sprintf("td/ns/n%d/sa/s%d h%d.example", i%10, i%100, i))...)
	}
	began := time.Now()
	s, text := suggested(t, observed, suggest.Options{})
	t.Logf("%d bytes in %v", len(text), time.Since(began))
	require.Equal(t, 10_000, s.Pairs)
	require.Len(t, s.Policies, 10)
	r := loaded(t, file("gateway.yaml", gateway("egress", "td", "")), file("observed.yaml", text))
	require.Len(t, r.Model.Gateways[0].Entries, 10_000)
}

func TestNothingToSuggest(t *testing.T) {
	s, text := suggested(t, nil, suggest.Options{})
	require.Empty(t, s.Policies)
	require.Equal(t, "# Nothing is to be suggested of what was seen.\n", text)
	r := loaded(t, file("gateway.yaml", gateway("egress", "td", "")), file("observed.yaml", text))
	require.Empty(t, r.Documents.Policies)
}

// A namespace that a team has a folder for says so, and what would be refused there.
func TestDelegated(t *testing.T) {
	files := []source.File{file("gateway.yaml", gateway("egress", "td", "")+`---
apiVersion: sallyport.dev/v1
kind: Delegation
metadata: {name: shop}
spec: {folder: teams/shop, namespaces: [shop], hosts: ["*.shop.example"]}
`), file("teams/shop/a.yaml", `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: a, namespace: shop}
spec: {rules: [{action: Allow, to: [{hosts: [a.shop.example]}]}]}
`)}
	r := loaded(t, files...)
	options := suggest.Options{Model: r.Model, Documents: r.Documents}
	_, text := suggested(t, allowed("td/ns/shop/sa/cart b.shop.example", "td/ns/shop/sa/cart b.example"), options)
	require.Contains(t, text, "# The policies of this namespace are delegated: \"teams/shop\" is the folder for them.\n"+
		"# There, 1 host of it would be refused, as the Delegation does not have them: b.example\napiVersion")
	require.True(t, policy.LoadTree(source.NewTree(append(files, file("teams/shop/observed.yaml", text))), now).Diagnostics.HasErrors())
	_, text = suggested(t, allowed("td/ns/shop/sa/cart b.shop.example"), options)
	require.NotContains(t, text, "would be refused")
	loaded(t, append(files, file("teams/shop/observed.yaml", text))...)
}
