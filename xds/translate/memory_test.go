package translate_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// The same model gives the same resources, whatever was translated before: a
// Translator that saw any sequence of models, which share entries with those before
// them as compiled ones do, prints each as a new Translator does.
func TestAnySequenceOfModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		translator := translate.New()
		g := drawGateway(t)
		for range rapid.IntRange(2, 8).Draw(t, "steps") {
			g = drawEdit(t, g)
			got, err := translator.Translate(g)
			require.NoError(t, err)
			want, err := translate.New().Translate(g)
			require.NoError(t, err)
			require.Equal(t, versions(want), versions(got))
		}
	})
}

// A change of one entry prints its bucket anew, and no other, and also if all
// entries are new pointers that say the same.
func TestOnlyTheBucketIsPrinted(t *testing.T) {
	t.Parallel()
	translator := translate.New()
	before := grantedHosts(500)
	first, err := translator.Translate(before)
	require.NoError(t, err)
	for name, after := range map[string]*model.Gateway{"shared": shared(before), "anew": grantedHosts(500)} {
		changed := *after.Entries[7]
		changed.Dial.Port = 8443
		after.Entries[7] = &changed
		second, err := translator.Translate(after)
		require.NoError(t, err)
		var anew []string
		for i, r := range second.Listeners {
			if r.Message != first.Listeners[i].Message {
				anew = append(anew, r.Name)
			}
		}
		require.Len(t, anew, 1, name)
		for i, r := range second.Clusters {
			require.Same(t, first.Clusters[i].Message, r.Message, r.Name)
		}
		first, err = translator.Translate(before)
		require.NoError(t, err)
	}
}

// Whatever is in an EgressGateway document and is printed must be noticed when it
// changes: the Translator compares all of it. A field of the model that is not
// printed is to be named here.
func TestSettingsHaveEveryField(t *testing.T) {
	t.Parallel()
	notPrinted := []string{"Origin", "Nodes", "Rollout", "Entries", "Audit", "HasAuditAllowPolicy"}
	full := reflect.New(reflect.TypeFor[model.Gateway]()).Elem()
	for i := range full.NumField() {
		if f := full.Field(i); f.CanSet() {
			fill(f)
		}
	}
	g := full.Addr().Interface().(*model.Gateway)
	kept := reflect.ValueOf(translate.Settings(g))
	for i := range full.NumField() {
		field := full.Type().Field(i)
		if field.IsExported() && !slices.Contains(notPrinted, field.Name) {
			require.Equal(t, full.Field(i).Interface(), kept.Field(i).Interface(), field.Name)
			require.False(t, kept.Field(i).IsZero(), field.Name)
		}
	}
}

// fill makes a value that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	}
}

func shared(g *model.Gateway) *model.Gateway {
	out := *g
	out.Entries = slices.Clone(g.Entries)
	return &out
}

func drawGateway(t *rapid.T) *model.Gateway {
	g := gateway()
	g.Listeners = append(g.Listeners, model.Listener{Name: "proxy", Address: netip.IPv4Unspecified(), Port: 15080, Protocol: model.HTTP})
	g.Certificates.Roots = "/tls/roots.pem"
	g.Entries = nil
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		drawEntry(t, g)
	}
	return g
}

// drawEntry adds or replaces an entry, in the order that compiled models have.
func drawEntry(t *rapid.T, g *model.Gateway) {
	// Few names, so that the same ones come, go and come again.
	name := rapid.SampledFrom([]string{"*", "*.com", "*.a.com", "a.com", "b.com", "x.a.com", "y.a.com", "*.x.a.com", "z.x.a.com"}).Draw(t, "pattern")
	p, err := hostname.ParsePattern(name)
	require.NoError(t, err)
	e := &model.Entry{
		Pattern: p, Registered: rapid.IntRange(0, 4).Draw(t, "registered") > 0,
		Dial: model.Dial{Port: rapid.SampledFrom([]uint16{443, 8443}).Draw(t, "port"), AllowPrivate: rapid.Bool().Draw(t, "private")},
	}
	if rapid.Bool().Draw(t, "exported") {
		e.ExportTo = rapid.SampledFrom([][]string{{}, {"a"}, {"a", "b"}}).Draw(t, "exportTo")
	}
	switch rapid.IntRange(0, 4).Draw(t, "dial") {
	case 0:
		e.Dial.Host = "server.example.com"
	case 1:
		e.Dial.Addresses = []netip.Addr{netip.MustParseAddr(rapid.SampledFrom([]string{"9.9.9.9", "8.8.8.8"}).Draw(t, "address"))}
	}
	if rapid.Bool().Draw(t, "originate") {
		e.Dial.Originate = &model.Originate{Roots: rapid.SampledFrom([]string{"", "/tls/partner.pem"}).Draw(t, "roots")}
		if rapid.Bool().Draw(t, "names") {
			e.Dial.Originate.SubjectAltNames = []string{"server.example.com"}
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "rules") {
		e.Rules = append(e.Rules, drawRule(t, i, p))
	}
	if p.IsWildcard() && rapid.Bool().Draw(t, "overlap") {
		r := drawRule(t, 9, hostname.Exactly("x.a.com"))
		r.Action = model.Deny
		e.Overlapping = append(e.Overlapping, r)
	}
	g.Entries = slices.DeleteFunc(g.Entries, func(was *model.Entry) bool { return was.Pattern == p })
	g.Entries = append(g.Entries, e)
	slices.SortFunc(g.Entries, func(a, b *model.Entry) int { return hostname.Compare(a.Pattern, b.Pattern) })
	g.Index()
}

func drawRule(t *rapid.T, index int, p hostname.Pattern) *model.Rule {
	r := &model.Rule{
		ID:     model.RuleID{Namespace: "default", Policy: fmt.Sprint("p-", index)},
		Action: rapid.SampledFrom([]model.Verdict{model.Allow, model.Deny}).Draw(t, "action"),
		From:   []model.PrincipalMatch{{Value: "spiffe://cluster.local/ns/a/sa/" + rapid.SampledFrom([]string{"x", "y"}).Draw(t, "whom")}},
		To:     []model.To{{Hosts: []hostname.Pattern{p}}},
		Via:    rapid.SampledFrom([]model.Via{0, model.ViaTLS, model.ViaHTTP}).Draw(t, "via"),
	}
	if rapid.IntRange(0, 3).Draw(t, "who") == 0 {
		r.From, r.Who = []model.PrincipalMatch{{Kind: model.MatchAny}}, model.Who{{Not: r.From}}
	}
	return r
}

// drawEdit is the next model: it shares what the edit does not touch.
func drawEdit(t *rapid.T, was *model.Gateway) *model.Gateway {
	g := shared(was)
	at := func() int { return rapid.IntRange(0, len(g.Entries)-1).Draw(t, "which") }
	switch edit := rapid.IntRange(0, 9).Draw(t, "edit"); {
	case edit == 0: // nothing
	case edit == 1: // compiled anew
		for i, e := range g.Entries {
			again := *e
			g.Entries[i] = &again
		}
	case edit == 2:
		g.Limits.IdleTimeout = time.Duration(rapid.IntRange(0, 2).Draw(t, "idle")) * time.Minute
	case edit == 3:
		g.Certificates.Roots = rapid.SampledFrom([]string{"/tls/roots.pem", "/tls/partner.pem"}).Draw(t, "roots")
	case edit == 4:
		g.Listeners = g.Listeners[:rapid.IntRange(1, len(g.Listeners)).Draw(t, "listeners")]
	case edit == 5:
		g.HasAllowPolicy = !g.HasAllowPolicy
	case edit == 6 && len(g.Entries) > 0:
		i := at()
		g.Entries = slices.Delete(g.Entries, i, i+1)
	case edit <= 8 && len(g.Entries) > 0: // which matters to the wildcards around it
		i := at()
		e := *g.Entries[i]
		e.ExportTo = rapid.SampledFrom([][]string{nil, {}, {"a"}, {"b"}}).Draw(t, "exportTo")
		g.Entries[i] = &e
	default:
		drawEntry(t, g)
	}
	g.Index()
	return g
}
