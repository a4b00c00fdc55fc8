package differential

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/hostname"
	"sallyport/pkg/lab"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
	"sallyport/xds/standalone"
)

var envoySeed = flag.Int("envoy-seed", 0, "the policies and connections of TestEnvoyAgrees; 0 is a new one each time")

// drawSeed is the seed of the flag, or a new one, said so that it can be used again.
func drawSeed(t *testing.T) int {
	t.Helper()
	seed := *envoySeed
	for seed == 0 {
		seed = rand.Int()
	}
	t.Logf("-envoy-seed=%d", seed)
	return seed
}

const (
	envoyPolicies    = 8
	envoyConnections = 40 // a policy
)

// A sample of what the reader is asked is asked of a real Envoy: the verdict,
// what is left behind, and what the log says must be the same.
func TestEnvoyAgrees(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	seed := drawSeed(t)
	certificates, authority := issued(t)
	total := tally{}
	for i := range envoyPolicies {
		s := &setup{ctx: ctx, authority: authority, random: rand.New(rand.NewPCG(uint64(seed), uint64(i)))}
		s.start(t, seed+i, certificates)
		for _, c := range s.sample(t) {
			total.add(s.try(t, c))
		}
		s.stop(t)
	}
	t.Logf("%+v", total)
	require.Greater(t, total.connected, envoyPolicies, "a test of refusals alone")
	require.Greater(t, total.refused, envoyPolicies, "a test of grants alone")
}

type tally struct{ connected, refused int }

func (a *tally) add(v reader.Verdict) {
	if v.Connected {
		a.connected++
	} else {
		a.refused++
	}
}

// setup is an Envoy with one policy, and the world around it.
type setup struct {
	ctx       context.Context
	random    *rand.Rand
	authority *ca.Authority
	gateway   *model.Gateway
	reader    *reader.Gateway
	process   *envoy.Process
	dns       *oneAddressDNS
	origins   []*origin
	log       chan string
	shown     string // the policy
	known     bool   // every source address is somebody's
}

// start draws a policy, and starts an Envoy with it.
func (s *setup) start(t *testing.T, seed int, certificates standalone.Certificates) {
	t.Helper()
	docs := rapid.Custom(func(t *rapid.T) *model.Gateway {
		docs := onOtherPorts(documents().Draw(t, "documents"))
		s.shown = show(docs)
		return compiled(t, docs)
	})
	s.known = s.random.IntN(2) == 0
	s.run(t, docs.Example(seed), certificates)
}

// onOtherPorts are documents with which every host has an entry, where all are let
// through: those without one are reached on port 443, where this machine has no origin.
func onOtherPorts(docs *syntax.Documents) *syntax.Documents {
	g := docs.Gateways[0]
	g.AllowAny = g.AllowAny || g.Mode == syntax.Audit
	return docs
}

// run starts an Envoy with a policy. Ports and addresses become those of this
// machine; nothing else of the policy is changed.
func (s *setup) run(t *testing.T, g *model.Gateway, certificates standalone.Certificates) {
	t.Helper()
	one := startOrigin(t, "127.0.0.1:0")
	s.origins = []*origin{one, startOrigin(t, "127.0.0.1:0")}
	s.dns = startDNS(t, one.address.Addr())
	g.DNS = model.DNS{Resolvers: []netip.AddrPort{s.dns.at}, Family: model.FamilyV4Only}
	g.Addresses = model.Addresses{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for _, e := range g.Entries {
		port := s.origins[0].address.Port()
		if e.Dial.Port != 443 {
			port = s.origins[1].address.Port()
		}
		e.Dial.Port = port
		if len(e.Dial.Addresses) > 0 {
			e.Dial.Addresses = []netip.Addr{one.address.Addr()}
		}
	}
	for i := range g.Listeners {
		l := &g.Listeners[i]
		l.Address, l.Port = netip.MustParseAddr("127.0.0.1"), freePort(t)
		if l.Name == "tls" {
			l.Sources = s.sources()
		}
	}
	g.AccessLog = "/dev/stdout"
	s.gateway = g
	res := translated(t, g)
	s.reader = read(t, res)

	config, err := standalone.Bootstrap(res, certificates)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "envoy.json")
	require.NoError(t, os.WriteFile(path, config, 0o600))
	s.log = make(chan string, 1000)
	s.process, err = envoy.Start(s.ctx, envoy.ProcessOptions{
		Config: path, Concurrency: 1, Flags: []string{"--log-level", "error", "--file-flush-interval-msec", "10"},
		AccessLog: func(line string) {
			select {
			case s.log <- line:
			default: // nobody is reading
			}
		},
		Log: func(line string) { t.Logf("envoy: %s", line) },
	})
	require.NoError(t, err)
	require.NoError(t, s.process.Ready(s.ctx), s.shown)
}

func (s *setup) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, s.process.Kill())
}

// sources are loopback addresses, nested, and with one beside them.
func (s *setup) sources() []model.Source {
	var out []model.Source
	prefixes := []string{"127.1.0.0/16", "127.1.1.0/24", "127.1.1.1/32", "127.2.0.0/16"}
	if s.known {
		prefixes = append(prefixes, "0.0.0.0/0")
	}
	for _, prefix := range prefixes {
		out = append(out, model.Source{
			Prefix: netip.MustParsePrefix(prefix), Principal: principals()[1+s.random.IntN(len(principals())-1)],
		})
	}
	return out
}

// freePort is a port that nobody had a moment ago.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// attempt is a connection, and what must become of it.
type attempt struct {
	caller
	name string
	want reader.Verdict
}

// callers are ways of being someone at this machine's gateway.
func (s *setup) callers() []caller {
	callers := []caller{{from: reader.Connection{Entry: "entry/anyone", Source: netip.MustParseAddrPort("127.0.0.9:1")}}}
	for _, source := range []string{"127.0.0.9", "127.1.9.9", "127.1.1.9", "127.1.1.1", "127.2.0.1"} {
		addr := netip.MustParseAddr(source)
		callers = append(callers, caller{
			from: reader.Connection{Entry: "entry/tls", Source: netip.AddrPortFrom(addr, 1)}, principal: principalOf(s.gateway, addr),
		})
	}
	for _, p := range principals() {
		if _, err := ca.ParseID(p); err == nil {
			callers = append(callers, caller{
				from:      reader.Connection{Entry: "entry/mtls", Source: netip.MustParseAddrPort("127.0.0.9:1"), Certificate: &reader.Certificate{URISANs: []string{p}}},
				principal: p, stranger: !certifiable(p),
			})
		}
	}
	return callers
}

// attempt is a connection, and what the reader says of it.
func (s *setup) attempt(t *testing.T, c caller, name string) attempt {
	t.Helper()
	c.from.Hello = &reader.Hello{ServerName: name}
	v, err := s.reader.Connect(c.from, func(string) []netip.Addr { return []netip.Addr{s.dns.answer} })
	require.NoError(t, err)
	return attempt{caller: c, name: name, want: v}
}

// sample draws connections: grants as often as refusals, if there are any.
func (s *setup) sample(t *testing.T) []attempt {
	t.Helper()
	var names []string
	for _, name := range meantNames(s.gateway) {
		names = append(names, name, name, name, name)
		names = append(names, spoilt(name)...)
	}
	names = append(names, "")
	var allowed, refused []attempt
	for _, c := range s.callers() {
		for _, name := range names {
			if a := s.attempt(t, c, name); a.want.Connected {
				allowed = append(allowed, a)
			} else {
				refused = append(refused, a)
			}
		}
	}
	shuffled := func(all []attempt) []attempt {
		s.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:min(len(all), envoyConnections/2)]
	}
	return slices.Concat(shuffled(allowed), shuffled(refused))
}

// try makes the connection, and compares.
func (s *setup) try(t *testing.T, a attempt) reader.Verdict {
	t.Helper()
	asked, accepted := len(s.dns.asked()), s.accepted()
	through := s.connect(t, a)
	context := fmt.Sprintf("caller %+v, principal %q, name %q\nreader %+v\n%s", a.from, a.principal, a.name, a.want, s.shown)
	if a.want.Connected != through {
		require.Fail(t, "the reader and Envoy disagree", "Envoy's log: %+v\n%s", s.nextLine(t, context), context)
	}
	if a.want.Last().Listener == "" || a.want.Policy == "" && !a.want.Connected && len(a.want.Path) < 2 {
		s.expectEntryLine(t, context)
	} else {
		s.expectLine(t, a, context)
	}
	queries := s.dns.asked()[asked:]
	if through {
		for _, q := range queries {
			require.Contains(t, a.want.Asked, q, context)
		}
		for _, host := range a.want.Asked {
			require.Contains(t, s.dns.asked(), host, context)
		}
		for i, o := range s.origins {
			dialled := a.want.Dialled[0].Port() == o.address.Port()
			require.Equal(t, dialled, s.accepted()[i] > accepted[i], context)
		}
		return a.want
	}
	require.Empty(t, queries, "a refused connection asked DNS: %s", context)
	require.Equal(t, accepted, s.accepted(), "a refused connection left a SYN behind: %s", context)
	return a.want
}

func (s *setup) accepted() []int64 {
	var out []int64
	for _, o := range s.origins {
		out = append(out, o.accepted.Load())
	}
	return out
}

// line is as much of a log line as is compared.
type line struct {
	Stage, Chain, RequestedServerName, SourcePrincipal, TerminationDetails, UpstreamAddress string
}

func (s *setup) nextLine(t *testing.T, context string) line {
	t.Helper()
	for {
		select {
		case text := <-s.log:
			var l line
			require.NoError(t, json.Unmarshal([]byte(text), &l), "%s\n%s", text, context)
			if l.Stage == "route" && l.Chain == "" {
				// The entry connects to the route stage when the handshake is over, and judges
				// the identity when the first byte comes: then it takes the connection back.
				continue
			}
			return l
		case <-s.process.Done():
			require.Fail(t, "envoy ended", context)
		case <-s.ctx.Done():
			require.Fail(t, "no line in the log", context)
		}
	}
}

// expectEntryLine is for those who do not get past the handshake.
func (s *setup) expectEntryLine(t *testing.T, context string) {
	t.Helper()
	require.Equal(t, "entry", s.nextLine(t, context).Stage, context)
}

func (s *setup) expectLine(t *testing.T, a attempt, context string) {
	t.Helper()
	l := s.nextLine(t, context)
	last := a.want.Last()
	stage, _, _ := strings.Cut(last.Listener, "/")
	if last.Listener == "entry/anyone" {
		stage = "route" // whose place it takes
	}
	require.Equal(t, stage, l.Stage, context)
	require.Equal(t, last.Chain, l.Chain, context)
	if stage != "entry" {
		require.Equal(t, a.principal, l.SourcePrincipal, context)
	}
	if a.want.Policy != "" {
		require.Contains(t, l.TerminationDetails, "rbac_access_denied_matched_policy["+a.want.Policy+"]", context)
	} else {
		require.Empty(t, l.TerminationDetails, context)
	}
	if a.want.Connected {
		require.Equal(t, strings.ToLower(a.name), l.RequestedServerName, context)
		require.Equal(t, a.want.Dialled[0].String(), l.UpstreamAddress, context)
	}
}

// connect makes the connection and reports whether the origin answered.
func (s *setup) connect(t *testing.T, a attempt) bool {
	t.Helper()
	i := slices.IndexFunc(s.gateway.Listeners, func(l model.Listener) bool { return "entry/"+l.Name == a.from.Entry })
	to := netip.AddrPortFrom(s.gateway.Listeners[i].Address, s.gateway.Listeners[i].Port)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: a.from.Source.Addr().AsSlice()}}
	conn, err := dialer.DialContext(s.ctx, "tcp", to.String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }() // it was only for this
	deadline, _ := s.ctx.Deadline()
	require.NoError(t, conn.SetDeadline(deadline))

	if a.from.Entry == "entry/mtls" {
		credential, err := s.authority.Issue(ca.Workload(a.from.Certificate.URISANs[0]))
		require.NoError(t, err)
		outer := tls.Client(conn, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{credential.TLS()}, RootCAs: s.authority.Pool(), ServerName: "gateway.test",
		})
		require.NoError(t, outer.Handshake())
		conn = outer
	}
	received := &recorder{Conn: conn}
	if name, err := hostname.FromWire(a.name); err == nil && string(name) == a.name && s.random.IntN(2) == 0 {
		// A library's hello. The origin's answer is no TLS, which it minds.
		require.Error(t, tls.Client(received, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.name}).HandshakeContext(s.ctx))
	} else {
		hello := lab.Hello{ServerName: []byte(a.name)}
		if a.name == "" {
			hello.ServerName = nil
		}
		if _, err := received.Write(hello.Bytes()); err == nil {
			_, err = io.Copy(io.Discard, received)
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "nobody answered")
		}
	}
	return strings.Contains(received.data.String(), greeting)
}

// recorder keeps what is received.
type recorder struct {
	net.Conn
	data bytes.Buffer
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.data.Write(b[:n])
	return n, err
}
