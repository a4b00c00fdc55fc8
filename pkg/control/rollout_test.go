package control_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/policy"
	"sallyport/policy/kept"
	"sallyport/policy/model"
	"sallyport/xds/server"
)

// rolledGateway is a group that is rolled out.
func rolledGateway(t testing.TB, hosts ...string) *model.Gateway {
	g := gateway(t, "egress", hosts...)
	g.Rollout = model.Rollout{Count: 1, Pause: time.Hour, Timeout: time.Hour}
	return g
}

// memory is a Keeper.
type memory struct{ policy atomic.Pointer[kept.Policy] }

func (m *memory) Load() (kept.Policy, error) {
	if p := m.policy.Load(); p != nil {
		return *p, nil
	}
	return kept.Policy{}, kept.ErrNone
}

func (m *memory) Save(p kept.Policy) error {
	m.policy.Store(&p)
	return nil
}

func (m *memory) Path() string { return "memory" }

// What is kept says which groups are behind, until their gateways are all given
// what is in force; a group of which nobody knows what it had, too.
func TestRolloutIsKept(t *testing.T) {
	m := &memory{}
	inBubble(t, func(t *testing.T, p *plant) {
		one := good("one", rolledGateway(t, "a.com=x"), gateway(t, "other", "a.com=x"))
		p.becomes(one)
		time.Sleep(time.Second)
		require.Equal(t, map[string]*kept.Stage{"egress": nil}, m.policy.Load().Behind)
		require.Equal(t, server.RolloutWaits, p.served("egress").Rollout.State)
		require.Zero(t, p.served("egress").Rollout.Base)
		require.Nil(t, p.served("other").Rollout)

		// Without the rollout all are given it.
		all := gateway(t, "egress", "a.com=x")
		p.becomes(good("one, at once", all, gateway(t, "other", "a.com=x")))
		require.Nil(t, p.served("egress").Rollout)
		time.Sleep(time.Second)
		require.Empty(t, m.policy.Load().Behind)

		p.becomes(one)
		require.Nil(t, p.served("egress").Rollout, "it changes nothing for gateways")
		at := time.Now()
		p.becomes(good("two", rolledGateway(t, "a.com=x,y"), gateway(t, "other", "a.com=x,y")))
		time.Sleep(time.Second)
		require.Contains(t, m.policy.Load().Behind, "egress")
		require.Equal(t, one.Digest, m.policy.Load().Behind["egress"].Tree.Digest)
		require.True(t, m.policy.Load().Behind["egress"].At.Equal(at))
		require.NotEqual(t, one.Digest, m.policy.Load().Tree.Digest)

		// A further edit does not make what was never given to all the base.
		p.becomes(good("three", rolledGateway(t, "a.com=x,y,z"), gateway(t, "other", "a.com=x,y")))
		time.Sleep(time.Second)
		require.Equal(t, one.Digest, m.policy.Load().Behind["egress"].Tree.Digest)

		// Put back, nobody is behind.
		p.becomes(one)
		require.Nil(t, p.served("egress").Rollout)
		time.Sleep(time.Second)
		require.Empty(t, m.policy.Load().Behind)
	}, func(o *control.Options) { o.Keeper = m })
}

// What expires is taken out of what the others have, as out of what is rolled out,
// on time and whatever the directory is like; and nothing is rolled out for it.
func TestRolloutAndExpiry(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken %t", broken), func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *plant) {
				end := time.Now().Add(10 * time.Minute)
				at := func(content, rules string) func(time.Time) policy.Result {
					return func(now time.Time) policy.Result {
						hosts := rules
						if !now.Before(end) {
							hosts = strings.ReplaceAll(rules, ",temporary", "")
						}
						g := rolledGateway(t, hosts)
						if content == "at once" {
							g.Rollout = model.Rollout{}
						}
						expires(g, "temporary", end, model.Allow)
						r := good(content, g)
						r.Model.Expiries = []time.Time{end}
						return r
					}
				}
				p.becomesOverTime(at("at once", "a.com=x,temporary"))
				p.becomesOverTime(at("one", "a.com=x,temporary"))
				p.becomesOverTime(at("two", "a.com=x,temporary,y"))
				before := p.served("egress")
				require.NotNil(t, before.Rollout)
				if broken {
					p.becomes(bad("three", "no"))
				}
				p.logged(logrus.InfoLevel)
				time.Sleep(time.Until(end))
				synctest.Wait()
				after := p.served("egress")
				require.NotEqual(t, before.Versions["listener"], after.Versions["listener"])
				require.Equal(t, server.RolloutWaits, after.Rollout.State, "the same rollout")
				require.Equal(t, before.Rollout.StartedAt, after.Rollout.StartedAt)
				require.Equal(t, before.Rollout.Base, after.Rollout.Base)
				require.Equal(t, after.Generation, after.Rollout.Generation)
			})
		})
	}
}

// After a start the base is what was kept for the group, and nothing is rolled out
// if all were given what the directory says.
func TestRolloutAfterAStart(t *testing.T) {
	t.Parallel()
	rolled := func(s string) string {
		return strings.Replace(s, "spec:\n", "spec:\n  rollout: {first: 1, pause: 1h}\n", 1)
	}
	all := files()
	s, _ := newKeptSite(t, all)
	before := s.Status().Groups[0]
	s.write("gateway.yaml", rolled(all["gateway.yaml"]))
	s.eventually(func(c control.Status) bool { return isKept(c) && c.Generation == 2 })

	s.restart()
	same := s.eventually(isReady)
	require.Nil(t, same.Groups[0].Rollout, "all have it")
	require.Equal(t, before.Versions, same.Groups[0].Versions)

	s.stop()
	s.write("team.yaml", allow("team", "", "c.example.com"))
	s.restart()
	edited := s.eventually(isReady)
	require.Equal(t, server.RolloutWaits, edited.Groups[0].Rollout.State)
	require.NotEqual(t, before.Versions, edited.Groups[0].Versions)
	s.eventually(isKept)

	// Once more, and it is not taken for what they have.
	s.restart()
	again := s.eventually(isReady)
	require.NotNil(t, again.Groups[0].Rollout)
	require.Equal(t, edited.Groups[0].Versions, again.Groups[0].Versions)

	// What was before is: put back, there is nothing to roll out.
	s.stop()
	s.write("team.yaml", all["team.yaml"])
	s.restart()
	back := s.eventually(isReady)
	require.Nil(t, back.Groups[0].Rollout)
	require.Equal(t, before.Versions, back.Groups[0].Versions)

	// With a broken directory it is as it was when it was killed.
	s.write("team.yaml", allow("team", "", "c.example.com"))
	s.eventually(func(c control.Status) bool { return isKept(c) && c.Groups[0].Rollout != nil })
	s.stop()
	s.write("team.yaml", broken())
	s.restart()
	kept := s.eventually(func(c control.Status) bool { return c.Ready && c.Kept.InForce })
	require.NotNil(t, kept.Groups[0].Rollout)
	require.Equal(t, edited.Groups[0].Versions, kept.Groups[0].Versions)
}

func isReady(s control.Status) bool { return s.Ready && len(s.Errors) == 0 }
