package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
)

// httpCallers are the ways of being someone at the HTTP entry.
func httpCallers(g *model.Gateway) []caller {
	var out []caller
	for _, c := range callers(g) {
		if c.from.Entry == "entry/mtls" {
			c.from.Entry = "entry/http"
			out = append(out, c)
		}
	}
	return out
}

// originating are documents with which the gateway speaks TLS for many hosts, or
// for all but some.
func originating() *rapid.Generator[*syntax.Documents] {
	return rapid.Custom(func(t *rapid.T) *syntax.Documents {
		docs := documents().Draw(t, "documents")
		if any := mustPattern("*"); rapid.Bool().Draw(t, "originate") && !taken(docs, any) {
			d := destination("any").Draw(t, "destination")
			d.Hosts, d.ExportTo, d.Originate = hosts([]hostname.Pattern{any}), nil, &model.Originate{}
			docs.Destinations = append(docs.Destinations, d)
		}
		return docs
	})
}

// authorities are what clients could send for hosts of a gateway: names, in
// several spellings, that are none, or with ports of all kinds.
func authorities(t *rapid.T, g *model.Gateway) []string {
	meant := append(meantNames(g), rapid.SampledFrom(names()).Draw(t, "another name"))
	out := []string{"", ":", ":443", "*", "/", "[::1]:443", "1.2.3.4:443"}
	for _, name := range meant {
		out = append(out, name, name+":443")
		for range 2 {
			out = append(out, rapid.SampledFrom(spoiltAuthorities(name)).Draw(t, "authority"))
		}
	}
	for range 12 {
		name := rapid.SampledFrom(spoilt(rapid.SampledFrom(meant).Draw(t, "name to spoil"))).Draw(t, "spoilt")
		out = append(out, name+rapid.SampledFrom([]string{"", ":443", ":80"}).Draw(t, "port"))
	}
	return out
}

// spoiltAuthorities are authorities with the name in them, few of which mean it.
func spoiltAuthorities(name string) []string {
	upper := strings.ToUpper(name)
	out := []string{
		upper, upper + ":443", strings.ToUpper(name[:1]) + name[1:] + ":80", name + ".:443", name + ".", "user@" + name + ":443", "user:secret@" + name,
		name + ":443:443", name + ":", name + ": 443", name + ":+443", name + ":-443", name + ":0443", name + ":00", name + ":0", name + ":4430", name + ":44", name + ":443a",
		name + ":65535", name + ":65536", name + ":99999999999", name + ":https", "[" + name + "]:443", "//" + name, "https://" + name, name + "/:443", name + "?:443", name + "#",
		name + "%2e:443", "%61" + name, name + "\t:443", " " + name, name + " ", name + ":443 ", name + "," + name, name + "\\:443", name + "@a.test:443", "a.test@" + name + ":443",
		"\u212a" + name + ":443", "\u017f" + name, "::443", name + "::443", name + "]:443", "x]." + name + ":443",
	}
	for _, port := range []string{"80", "8443", "8080", "1", "443", "8443"} {
		out = append(out, name+":"+port)
	}
	return out
}

// requests are the ways to ask for an authority.
func requests(authority, inside string) []reader.Request {
	connect := reader.Request{Method: "CONNECT", Authority: authority}
	connect.Hello = &reader.Hello{ServerName: inside}
	return []reader.Request{
		connect,
		{Method: "GET", Authority: authority, Path: "/"},
		{Method: "POST", Authority: authority, Path: "//a/../b?c"},
	}
}

// The policy's answer to an HTTP request and Envoy's are the same, for every
// way of being someone and every authority a client could send: the request, and
// then the connection that it becomes.
func TestAnswersAreEnvoysAnswers(t *testing.T) {
	cases, known, passed, connected := 0, 0, map[string]int{}, 0 // known are those of workloads that are let in
	rapid.Check(t, func(t *rapid.T) {
		docs := originating().Draw(t, "documents")
		g := compiled(t, docs)
		envoy := read(t, translated(t, g))
		all := httpCallers(g)
		other := rapid.SampledFrom(append(meantNames(g), names()[0])).Draw(t, "inside")
		for i, authority := range authorities(t, g) {
			inside, _, _ := strings.Cut(authority, ":")
			if i%4 == 0 {
				inside = other
			}
			for _, c := range all {
				for _, request := range requests(authority, inside) {
					a, problem := answer(g, envoy, c, request)
					if problem != "" {
						t.Fatalf("%s\ncaller %+v, principal %q, %s %q, inside %q\nDecide %s\nEnvoy %+v\n%s", problem, c.from, c.principal, request.Method, authority, inside,
							describe(g.DecideRequest(c.principal, request.Method == "CONNECT", authority)), a, show(docs))
					}
					cases++
					if !c.stranger {
						known++
					}
					if a.Passed {
						passed[request.Method]++
					}
					if a.Connected {
						connected++
					}
				}
			}
		}
	})
	t.Logf("%d cases, passed on %v, %d of them connected", cases, passed, connected)
	require.Greater(t, cases, 50_000)
	require.Greater(t, passed["CONNECT"], known/100)
	require.Greater(t, passed["GET"], known/200, "few requests are for hosts that the gateway speaks TLS with")
	require.Less(t, connected, passed["CONNECT"]+passed["GET"]+passed["POST"], "the server name inside of a tunnel must decide too")
}

// answer makes a request, and says how what became of it differs from the
// policy, or nothing.
func answer(g *model.Gateway, envoy *reader.Gateway, c caller, request reader.Request) (reader.Answer, string) {
	hello := request.Hello
	request.Connection = c.from
	request.Hello = hello
	a, err := envoy.Request(request, publicAddresses)
	if err != nil {
		return a, err.Error()
	}
	connect := request.Method == "CONNECT"
	d := model.Decision{}
	if !c.stranger {
		d = g.DecideRequest(c.principal, connect, request.Authority)
	}
	switch {
	case d.Verdict == model.Allow && !a.Passed:
		return a, "a false Deny"
	case d.Verdict == model.Deny && a.Passed:
		return a, "a FALSE ALLOW"
	case !a.Passed && (len(a.Asked) > 0 || len(a.Dialled) > 0):
		return a, "a refused request left something behind"
	case d.Reason == model.NotRegistered && !a.Nowhere, d.Reason == model.NotOriginated && !a.Nowhere:
		return a, "one filter alone keeps the request from getting on"
	case c.stranger && a.VirtualHost != "":
		return a, "a stranger's request was read"
	case c.stranger:
		return a, ""
	case !a.Passed:
		return a, compareReason(d, a.Policy)
	case connect:
		return a, compare(g, c, hello.ServerName, a.Verdict)
	default:
		return a, comparePlain(d, request.Authority, a)
	}
}

// compareReason checks what Envoy's log would name as the reason.
func compareReason(d model.Decision, policy string) string {
	want := string(d.Reason)
	switch d.Reason {
	case model.DenyRule:
		want = d.Rule.ID.String()
	case model.NoAllowRule, model.DefaultAction:
		want = "none"
	}
	if policy != want {
		return fmt.Sprintf("the log would name %q, and not %q", policy, want)
	}
	return ""
}

// comparePlain checks where a plain request goes: to the host that was asked
// for, by the policy that allowed it.
func comparePlain(d model.Decision, authority string, a reader.Answer) string {
	host, _, _ := strings.Cut(authority, ":")
	if a.Host != host {
		return "another host would be told its name"
	}
	if !a.Connected {
		return "the request was passed on, and then refused"
	}
	if !slices.Equal(listenersOf(a.Path)[:2], []string{"entry/http", "originated"}) {
		return "the request does not go through TLS"
	}
	return compareGrant(d, host, a.Verdict)
}

func listenersOf(path []reader.Step) []string {
	var out []string
	for _, s := range path {
		out = append(out, s.Listener)
	}
	return out
}

// Behind the gateway's own TLS the check is made twice as well.
func TestTheOriginatedChainsAloneAllowNothingMore(t *testing.T) {
	count := 0
	rapid.Check(t, func(t *rapid.T) {
		docs := originating().Draw(t, "documents")
		g := compiled(t, docs)
		problem, err := admittedTo("originated/", model.ViaHTTP, g, read(t, translated(t, g)), func() { count++ })
		require.NoError(t, err)
		if problem != "" {
			t.Fatalf("%s\n%s", problem, show(docs))
		}
	})
	require.Greater(t, count, 100)
}

// Requests of whoever loses access do not go on over connections that are open:
// the filter chain that they are in changes, or goes.
func TestRevocationsDrainOriginatedConnections(t *testing.T) {
	revoked := 0
	rapid.Check(t, func(t *rapid.T) {
		docs := originating().Draw(t, "documents")
		other := edited(t, docs)
		g, h := compiled(t, docs), compiled(t, other)
		was, is := translated(t, g), translated(t, h)
		open, now := read(t, was), read(t, is)
		changed := make(map[where]bool)
		for _, w := range drained(drainable(t, was), drainable(t, is)) {
			changed[w] = true
		}
		for _, c := range httpCallers(g) {
			for _, name := range append(meantNames(g), meantNames(h)...) {
				request := reader.Request{Connection: c.from, Method: "GET", Authority: name, Path: "/"}
				before, err := open.Request(request, publicAddresses)
				require.NoError(t, err)
				if !before.Connected {
					continue
				}
				after, err := now.Request(request, publicAddresses)
				require.NoError(t, err)
				if after.Connected {
					continue
				}
				revoked++
				if !drains(changed, before.Path) {
					t.Fatalf("%s loses %s: %+v, and its connections stay open in %v\nbefore:\n%safter:\n%s", c.principal, name, after, before.Path, show(docs), show(other))
				}
			}
		}
	})
	t.Logf("%d revoked", revoked)
	require.Greater(t, revoked, 100)
}
