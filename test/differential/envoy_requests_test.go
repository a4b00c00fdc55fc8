package differential

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"

	"sallyport/pkg/ca"
	"sallyport/pkg/lab"
	"sallyport/policy/model"
	"sallyport/test/differential/reader"
)

const (
	requestPolicies = 5
	requestsEach    = 60 // a policy
)

// What the reader and the policy say of requests, a real Envoy does: passed on
// or refused, and then by which name, and nothing left behind.
func TestEnvoyAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	seed := drawSeed(t)
	certificates, authority := issued(t)
	total := requestTally{}
	for i := range requestPolicies {
		// Random policies may have little of one kind, the first one has some of each.
		each := requestsEach
		if i == 0 {
			each *= 3
		}
		s := &setup{ctx: ctx, authority: authority, random: rand.New(rand.NewPCG(uint64(seed), uint64(i)))}
		g := compiled(t, requestDocuments())
		s.shown = show(requestDocuments())
		if i > 0 {
			g = rapid.Custom(func(t *rapid.T) *model.Gateway {
				docs := onOtherPorts(originating().Draw(t, "documents"))
				s.shown = show(docs)
				return compiled(t, docs)
			}).Example(seed + i)
		}
		s.run(t, g, certificates)
		for _, a := range s.sampleRequests(t, each) {
			s.ask(t, a, &total)
		}
		s.stop(t)
	}
	t.Logf("%+v", total)
	require.Greater(t, total.tunnels, 10)
	require.Greater(t, total.plain, 10)
	require.Greater(t, total.through, 10)
	require.Greater(t, total.refused, requestPolicies*requestsEach/4)
}

// requestTally counts requests that were passed on, and of those in tunnels the
// ones whose TLS was; and those that were refused, also before they were read.
type requestTally struct{ tunnels, plain, through, refused, unreadable int }

// wire is how a request is written.
type wire int

const (
	originForm wire = iota
	absoluteForm
	overHTTP2
)

// asking is a request, and what must become of it.
type asking struct {
	caller
	request reader.Request
	wire    wire
	want    reader.Answer
}

// sampleRequests draws requests, as many of each kind, if there are any: tunnels
// and others, passed on and not, and of the tunnels those through which the TLS
// inside gets and those through which it does not.
func (s *setup) sampleRequests(t *testing.T, most int) []asking {
	t.Helper()
	var tried []string
	for _, name := range meantNames(s.gateway) {
		for range 4 {
			tried = append(tried, name, name+":443", strings.ToUpper(name)+":443", name+":80")
		}
		for _, e := range s.gateway.Entries {
			tried = append(tried, name+":"+strconv.Itoa(int(e.Dial.Port)))
		}
		tried = append(tried, spoiltAuthorities(name)...)
		for _, other := range spoilt(name) {
			tried = append(tried, other, other+":443")
		}
	}
	tried = slices.DeleteFunc(tried, func(a string) bool {
		// HTTP has no way to say these, or takes the blanks away.
		return strings.ContainsAny(a, "\x00\r\n") || strings.TrimSpace(a) != a
	})
	groups := make(map[string][]asking)
	for _, c := range s.callers() {
		if c.from.Entry != "entry/mtls" || c.stranger {
			continue // they do not get past the handshake
		}
		c.from.Entry = "entry/http"
		for _, authority := range tried {
			if s.random.IntN(4) > 0 {
				continue // the reader is asked for the sake of the sample alone
			}
			inside, _, _ := strings.Cut(authority, ":")
			if s.random.IntN(4) == 0 {
				inside, _, _ = strings.Cut(tried[s.random.IntN(len(tried))], ":")
			}
			for _, request := range requests(authority, inside)[:2] {
				a := asking{caller: c, request: request, wire: wire(s.random.IntN(3))}
				hello := request.Hello
				a.request.Connection = c.from
				a.request.Hello = hello
				if request.Method == http.MethodGet && a.wire == absoluteForm && strings.ContainsAny(authority, "/?#\\@ ") {
					a.wire = originForm // of a URL, they would begin or end another part
				}
				var err error
				a.want, err = s.reader.Request(a.request, func(string) []netip.Addr { return []netip.Addr{s.dns.answer} })
				require.NoError(t, err)
				kind := fmt.Sprint(request.Method, a.want.Passed, a.want.Connected, a.want.Policy == string(model.BadAuthority))
				groups[kind] = append(groups[kind], a)
			}
		}
	}
	var out []asking
	for _, kind := range slices.Sorted(maps.Keys(groups)) {
		all := groups[kind]
		s.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		out = append(out, all[:min(len(all), most/len(groups))]...)
	}
	return out
}

// ask makes a request, and compares.
func (s *setup) ask(t *testing.T, a asking, total *requestTally) {
	t.Helper()
	asked, accepted := len(s.dns.asked()), s.accepted()
	got := s.exchange(t, a)
	context := fmt.Sprintf("principal %q, %s %q, written as %d, inside %+v\nEnvoy %+v\nreader %+v\n%s",
		a.principal, a.request.Method, a.request.Authority, a.wire, a.request.Hello, got, a.want, s.shown)
	d := s.gateway.DecideRequest(a.principal, a.request.Method == "CONNECT", a.request.Authority)
	require.Equal(t, d.Verdict == model.Allow, a.want.Passed, context)
	if a.isNoURL() {
		require.Equal(t, http.StatusBadRequest, got.status, context)
		total.unreadable++
		return
	}
	if !a.want.Passed {
		total.refused++
		switch {
		case d.Reason == model.BadAuthority && got.status != http.StatusForbidden:
			// Envoy's own reading of HTTP is before every filter.
			require.Contains(t, []int{0, http.StatusBadRequest, http.StatusNotFound}, got.status, context)
		default:
			require.Equal(t, http.StatusForbidden, got.status, context)
			require.Contains(t, got.body, "rbac_access_denied_matched_policy["+a.want.Policy+"]", context)
		}
		require.Empty(t, s.dns.asked()[asked:], "a refused request asked DNS: %s", context)
		require.Equal(t, accepted, s.accepted(), "a refused request left a SYN behind: %s", context)
		return
	}
	if a.request.Method == "CONNECT" {
		total.tunnels++
		require.Equal(t, http.StatusOK, got.status, context)
		require.Equal(t, a.want.Connected, got.through, context)
		if got.through {
			total.through++
		} else {
			require.Empty(t, s.dns.asked()[asked:], "a refused tunnel asked DNS: %s", context)
			require.Equal(t, accepted, s.accepted(), "a refused tunnel left a SYN behind: %s", context)
		}
	} else {
		total.plain++
		// The origin does not speak TLS: that it was asked is all that is wanted.
		require.Equal(t, http.StatusServiceUnavailable, got.status, context)
		require.NotEqual(t, accepted, s.accepted(), "nothing was dialled: %s", context)
	}
	for i, o := range s.origins {
		if a.want.Connected && a.want.Dialled[0].Port() != o.address.Port() {
			require.Equal(t, accepted[i], s.accepted()[i], "another port was dialled: %s", context)
		}
	}
	for _, host := range a.want.Asked {
		require.Contains(t, s.dns.asked(), host, context)
	}
}

// isNoURL reports whether Envoy's reading of HTTP/1.1 does not take the request
// at all, though it might be for a host name: with CONNECT and in absolute form,
// the authority is part of a URL, in which it takes no underscore; and CONNECT
// must name a port.
func (a asking) isNoURL() bool {
	connect := a.request.Method == "CONNECT"
	if a.wire == overHTTP2 || !connect && a.wire != absoluteForm || a.want.Policy == string(model.BadAuthority) {
		return false
	}
	return strings.Contains(a.request.Authority, "_") || connect && !strings.Contains(a.request.Authority, ":")
}

// exchanged is what came back. No status is a connection that was closed, or a
// stream that was reset.
type exchanged struct {
	status  int
	body    string
	through bool
}

// exchange writes a request, and what is inside of a tunnel.
func (s *setup) exchange(t *testing.T, a asking) exchanged {
	t.Helper()
	i := slices.IndexFunc(s.gateway.Listeners, func(l model.Listener) bool { return "entry/"+l.Name == a.from.Entry })
	to := netip.AddrPortFrom(s.gateway.Listeners[i].Address, s.gateway.Listeners[i].Port)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.from.Source.Addr().AsSlice()}}
	raw, err := dialer.DialContext(s.ctx, "tcp", to.String())
	require.NoError(t, err)
	defer func() { _ = raw.Close() }() // it was only for this
	deadline, _ := s.ctx.Deadline()
	require.NoError(t, raw.SetDeadline(deadline))
	credential, err := s.authority.Issue(ca.Workload(a.from.Certificate.URISANs[0]))
	require.NoError(t, err)
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{credential.TLS()}, RootCAs: s.authority.Pool(), ServerName: "gateway.test",
	})
	require.NoError(t, conn.Handshake())
	var inside []byte
	if a.request.Method == "CONNECT" {
		hello := lab.Hello{ServerName: []byte(a.request.Hello.ServerName)}
		if a.request.Hello.ServerName == "" {
			hello.ServerName = nil
		}
		inside = hello.Bytes()
	}
	if a.wire == overHTTP2 {
		return exchangeHTTP2(t, conn, a.request, inside)
	}
	return exchangeHTTP1(t, conn, a, inside)
}

func exchangeHTTP1(t *testing.T, conn net.Conn, a asking, inside []byte) exchanged {
	t.Helper()
	target := a.request.Path
	switch {
	case a.request.Method == "CONNECT":
		target = a.request.Authority
	case a.wire == absoluteForm:
		target = "http://" + a.request.Authority + a.request.Path
	}
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", a.request.Method, target, a.request.Authority)
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, &http.Request{Method: a.request.Method})
	if err != nil {
		return exchanged{}
	}
	got := exchanged{status: response.StatusCode}
	if got.status != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		got.body = string(body)
		return got
	}
	if _, err := conn.Write(inside); err == nil {
		answer, _ := io.ReadAll(in) // a reset is an end too
		got.through = bytes.Contains(answer, []byte(greeting))
	}
	return got
}

func exchangeHTTP2(t *testing.T, conn net.Conn, request reader.Request, inside []byte) exchanged {
	t.Helper()
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var headers bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	fields := []hpack.HeaderField{{Name: ":method", Value: request.Method}, {Name: ":authority", Value: request.Authority}}
	if request.Method != "CONNECT" {
		fields = append(fields, hpack.HeaderField{Name: ":scheme", Value: "http"}, hpack.HeaderField{Name: ":path", Value: request.Path})
	}
	for _, f := range fields {
		require.NoError(t, encoder.WriteField(f))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true, EndStream: request.Method != "CONNECT",
	}))
	var got exchanged
	var data bytes.Buffer
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return got
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if got.status == 0 {
				got.status, err = strconv.Atoi(frame.PseudoValue("status"))
				require.NoError(t, err)
				if got.status == http.StatusOK {
					require.NoError(t, framer.WriteData(1, false, inside))
				}
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			data.Write(frame.Data())
			ended = frame.StreamEnded()
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			ended = true
		}
		got.body, got.through = data.String(), strings.Contains(data.String(), greeting)
		if ended {
			return got
		}
	}
}
