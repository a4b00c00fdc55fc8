package faults

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/pkg/demo"
	"sallyport/pkg/diag"
	"sallyport/test/fleet"
	"sallyport/xds/server"
)

// binary is built once: the tests run what users run.
var binary string

func TestMain(m *testing.M) { os.Exit(fleet.Main(m, &binary)) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// site is a control plane and its directory.
type site struct {
	*fleet.Site
	t       *testing.T
	control *fleet.ControlPlane
}

func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	s := emptySite(t)
	s.control = s.serve(s.Policies, flags...)
	return s
}

// grantingSite grants a.example.com, and has a gateway that knows it.
func grantingSite(t *testing.T, flags ...string) (*site, *fleet.Gateway) {
	t.Helper()
	s := newSite(t, flags...)
	s.write("allow.yaml", fleet.Allow("first", "sleep", "a.example.com"))
	g := s.gateway("one", whole)
	s.grants(g, "a.example.com")
	return s, g
}

// emptySite has no control plane yet.
func emptySite(t *testing.T) *site {
	t.Helper()
	s, err := fleet.NewSite(t.TempDir())
	require.NoError(t, err)
	return &site{Site: s, t: t}
}

// serve starts a control plane that ends with the test.
func (s *site) serve(policies string, flags ...string) *fleet.ControlPlane {
	s.t.Helper()
	return s.start(fleet.ServeOptions{Binary: binary, Policies: policies, Own: s.Own(), Flags: flags})
}

// start is serve with more to say.
func (s *site) start(o fleet.ServeOptions) *fleet.ControlPlane {
	s.t.Helper()
	p, err := fleet.Serve(o)
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the control plane's log:\n%s", p.Log())
		}
		require.NoError(s.t, p.Stop())
	})
	return p
}

// gateway connects a gateway that is one of the group's nodes.
func (s *site) gateway(id string, change ...func(*fleet.Options)) *fleet.Gateway {
	s.t.Helper()
	return s.gatewayOf(s.control, id, change...)
}

func (s *site) gatewayOf(p *fleet.ControlPlane, id string, change ...func(*fleet.Options)) *fleet.Gateway {
	s.t.Helper()
	config, err := s.As(demo.GatewayID)
	require.NoError(s.t, err)
	o := fleet.Options{ID: id, Group: demo.Group}
	for _, c := range change {
		c(&o)
	}
	g, err := fleet.Connect(p.XDS().String(), config, o)
	require.NoError(s.t, err)
	s.t.Cleanup(g.Close)
	return g
}

func whole(o *fleet.Options) { o.Whole = true }

func (s *site) write(name, content string) {
	s.t.Helper()
	require.NoError(s.t, s.Write(name, content))
}

// within is a context for what must happen soon.
func (s *site) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	s.t.Cleanup(cancel)
	return ctx
}

// granted are the host patterns that a gateway with whole resources lets somebody
// reach: those that its filter chains are named after.
func granted(t *testing.T, g *fleet.Gateway) map[string]bool {
	t.Helper()
	out := make(map[string]bool)
	for name, packed := range g.Resources()[resource.ListenerType] {
		var envelope anypb.Any
		var l listener.Listener
		require.NoError(t, proto.Unmarshal(packed, &envelope), name)
		require.NoError(t, envelope.UnmarshalTo(&l), name)
		for _, chain := range l.GetFilterChains() {
			if host, _, ok := strings.Cut(chain.GetName(), "|"); ok {
				out[host] = true
			}
		}
	}
	return out
}

// grants waits until a gateway has grants for a host.
func (s *site) grants(g *fleet.Gateway, host string) {
	s.t.Helper()
	require.NoError(s.t, g.Until(s.within(patience), func(fleet.State) bool { return true }))
	require.Eventually(s.t, func() bool { return granted(s.t, g)[host] }, patience, 5*time.Millisecond, "%s is never granted", host)
}

// status is what the control plane says of itself.
type shownStatus struct {
	Generation uint64
	Errors     []struct {
		Position diag.Position
		Message  string
		Code     string
	}
	Groups []server.GroupStatus
	Nodes  []server.NodeStatus
}

func (s *site) status() shownStatus {
	s.t.Helper()
	page, err := s.control.Get("/status")
	require.NoError(s.t, err)
	var out shownStatus
	require.NoError(s.t, json.Unmarshal([]byte(page), &out))
	return out
}

// eventually waits for a status.
func (s *site) eventually(within time.Duration, what string, is func(shownStatus) bool) shownStatus {
	s.t.Helper()
	var last shownStatus
	require.Eventually(s.t, func() bool { last = s.status(); return is(last) }, within, 5*time.Millisecond, what)
	return last
}

func (s shownStatus) errors() string {
	var out []string
	for _, e := range s.Errors {
		out = append(out, e.Position.String()+": "+e.Message)
	}
	return strings.Join(out, "\n")
}

// metric is a number of the metrics page.
func (s *site) metric(name string) float64 {
	s.t.Helper()
	all, err := s.control.Metrics()
	require.NoError(s.t, err)
	require.Contains(s.t, all, name)
	return all[name]
}
