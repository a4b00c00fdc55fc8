package control_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

// plainTranslator makes one listener per host, whose content is the rules.
type plainTranslator struct{ fail *failures }

// failures are the groups that cannot be translated now.
type failures struct{ groups sync.Map }

func (f *failures) of(group string) error {
	if f == nil {
		return nil
	}
	if err, ok := f.groups.Load(group); ok {
		return err.(error)
	}
	return nil
}

func (t plainTranslator) Translate(g *model.Gateway) (*translate.Resources, error) {
	if err := t.fail.of(g.Name); err != nil {
		return nil, err
	}
	if g.TrustDomain == "panic" {
		panic("boom")
	}
	out := &translate.Resources{Clusters: []translate.Resource{versioned(&cluster.Cluster{Name: "out"})}}
	for _, e := range g.Entries {
		var rules []string
		for _, r := range e.Rules {
			rules = append(rules, fmt.Sprint(r.Action, r.ID))
		}
		l := &listener.Listener{Name: e.Pattern.String(), StatPrefix: strings.Join(rules, " ")}
		if g.TrustDomain == "broken" {
			l.FilterChains = []*listener.FilterChain{{Name: "twice"}, {Name: "twice"}}
		}
		out.Listeners = append(out.Listeners, versioned(l))
	}
	return out, nil
}

func versioned(m interface {
	proto.Message
	GetName() string
}) translate.Resource {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return translate.Resource{Name: m.GetName(), Message: m, Version: hex.EncodeToString(sum[:])}
}

// gateway is a group with hosts, each "HOST" or "HOST=RULE,RULE".
func gateway(t testing.TB, name string, hosts ...string) *model.Gateway {
	t.Helper()
	g := &model.Gateway{Name: name, Origin: diag.Position{File: name + ".yaml", Line: 1, Column: 1}}
	for _, h := range hosts {
		host, rules, _ := strings.Cut(h, "=")
		p, err := hostname.ParsePattern(host)
		require.NoError(t, err)
		e := &model.Entry{Pattern: p, Registered: true}
		for rule := range strings.SplitSeq(rules, ",") {
			if rule != "" {
				e.Rules = append(e.Rules, &model.Rule{
					ID: model.RuleID{Policy: rule}, Action: model.Allow, From: []model.PrincipalMatch{{Kind: model.MatchAny}},
				})
			}
		}
		g.Entries = append(g.Entries, e)
	}
	g.Index()
	return g
}

// expires makes a rule of the gateway expire.
func expires(g *model.Gateway, rule string, at time.Time, action model.Verdict) {
	for _, e := range g.Entries {
		for _, r := range e.Rules {
			if r.ID.Policy == rule {
				r.Expires, r.Action = at, action
			}
		}
	}
}

// good is a directory that compiled.
func good(content string, gateways ...*model.Gateway) policy.Result {
	digest := sha256.Sum256([]byte(content))
	return policy.Result{
		Model:  &model.Model{Gateways: gateways},
		Digest: digest,
		Files:  1,
		Tree:   source.Tree{Digest: digest},
	}
}

// bad is a directory that did not.
func bad(content string, findings ...string) policy.Result {
	l := policy.Result{Digest: sha256.Sum256([]byte(content)), Files: 1}
	for i, f := range findings {
		l.Diagnostics.Errorf(diag.Position{File: "policy.yaml", Line: i + 1, Column: 3}, "some-code", "%s", f)
	}
	return l
}

// plant is a controller in a bubble, with a directory that tests fill.
type plant struct {
	*control.Controller
	t      *testing.T
	server *server.Server
	logs   *logtest.Hook

	mu    sync.Mutex
	load  func(now time.Time) policy.Result
	hint  func()
	loads int
}

// inBubble runs a test with a plant, on a clock that only moves when everything
// else is done.
func inBubble(t *testing.T, test func(*testing.T, *plant), change ...func(*control.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log, hook := logtest.NewNullLogger()
		log.SetLevel(logrus.DebugLevel)
		p := &plant{t: t, server: server.New(server.Options{Logger: log}), logs: hook}
		o := control.Options{
			Directory: "policies", Logger: log, Server: p.server,
			NewLoader: func() control.Loader { return loader{p} },
			Watch: func(ctx context.Context, dir string, _ source.Options, hint func()) error {
				require.Equal(t, "policies", dir)
				p.mu.Lock()
				p.hint = hint
				p.mu.Unlock()
				<-ctx.Done()
				return ctx.Err()
			},
			NewTranslator: func() control.Translator { return plainTranslator{} },
		}
		for _, c := range change {
			c(&o)
		}
		p.Controller = control.New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		test(t, p)
		cancel()
		require.NoError(t, <-done)
	})
}

// loader is the plant's directory as the controller sees it.
type loader struct{ *plant }

func (l loader) Load(dir string, now time.Time) policy.Result {
	require.Equal(l.t, "policies", dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	return l.load(now)
}

// becomes changes what the directory holds, and waits until that was dealt with.
func (p *plant) becomes(l policy.Result) {
	p.t.Helper()
	p.becomesOverTime(func(time.Time) policy.Result { return l })
}

func (p *plant) becomesOverTime(load func(now time.Time) policy.Result) {
	p.t.Helper()
	p.mu.Lock()
	p.load = load
	p.mu.Unlock()
	p.rescan()
}

func (p *plant) rescan() {
	p.hint()
	synctest.Wait()
}

// looks is how often the directory was read.
func (p *plant) looks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loads
}

// served is what a group is served: its generation and versions.
func (p *plant) served(group string) server.GroupStatus {
	p.t.Helper()
	for _, g := range p.server.Status().Groups {
		if g.Name == group {
			return g
		}
	}
	require.Fail(p.t, "no such group is served", group)
	return server.GroupStatus{}
}

// logged returns the messages at a level since the last call.
func (p *plant) logged(level logrus.Level) []string {
	out := []string{}
	for _, e := range p.logs.AllEntries() {
		if e.Level == level {
			out = append(out, e.Message)
		}
	}
	p.logs.Reset()
	return out
}
