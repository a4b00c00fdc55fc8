package translate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"sallyport/policy/model"
)

// Translator prints gateways as resources. It remembers what it printed last
// for each gateway, so that an edit costs the buckets it changed; what it
// returns does not depend on that. It is not safe for concurrent use.
type Translator struct {
	gateways map[string]*memory
}

// New makes a Translator.
func New() *Translator { return &Translator{gateways: make(map[string]*memory)} }

// common is what the chains of all policy listeners share: packed once, and
// referred to from every chain.
type common struct {
	*builder
	gateway        *model.Gateway
	stages         stages
	inspector      *listener.ListenerFilter
	policyLog      []*accesslog.AccessLog
	principalInput *xdscore.TypedExtensionConfig
	toRefused      *xdsmatcher.Matcher_OnMatch
	forwards       map[forwardKind]*forwarding
	proxies        map[string]*listener.Filter
	// restricted has, for each wildcard, the entries inside of it that are not
	// exported to everyone.
	restricted map[*model.Entry][]*model.Entry
}

// Translate prints a gateway. Every message is validated before it is packed;
// an error means a defect in this package, or a value that the policy decoder
// should have refused, and nothing must be published.
func (t *Translator) Translate(g *model.Gateway) (*Resources, error) {
	b := &builder{}
	m := t.remembered(g, b)
	c := m.base.common
	c.builder, c.gateway = b, g
	// Envoy is only told about hosts that somebody may reach: every other name
	// ends in the route stage's refusal, as names nobody ever heard of do.
	touched := m.look(g.Entries)
	out := &runs{listeners: []run{m.base.listeners}, secrets: []run{m.base.secrets}}
	for _, one := range m.base.clusters {
		out.clusters = append(out.clusters, run{one})
	}
	if touched == nil {
		c.restricted = m.workload.restrictions(entriesOf(m.placed))
	} else {
		c.restricted = m.workload.restricted
	}
	listeners, clusters := c.through(m.workload, m.placed, nil, touched)
	out.listeners, out.clusters = append(out.listeners, listeners...), append(out.clusters, clusters...)
	out.listeners = append(out.listeners, c.directEntries(m))
	if g.SpeaksHTTP() {
		out.routes = append(out.routes, run{c.routes(m)})
		c.waysOut(m, out)
	}
	out.clusters = append(out.clusters, kept(&m.base.statics, m.static, func(d model.Dial) Resource { return b.static(d, g.Limits) }))
	if b.err != nil {
		delete(t.gateways, g.Name)
		return nil, fmt.Errorf("gateway %s: %w", g.Name, b.err)
	}
	return &Resources{
		Listeners: inOrder(out.listeners), Clusters: inOrder(out.clusters),
		Secrets: inOrder(out.secrets), Routes: inOrder(out.routes),
	}, nil
}

// runs are resources as they come.
type runs struct{ listeners, clusters, secrets, routes []run }

// digest covers everything about the gateway that its policy listeners print,
// besides their entries.
func (c *common) digest() [sha256.Size]byte {
	h := newHasher()
	g := c.gateway
	h.string(g.Name)
	h.string(g.TrustDomain)
	h.string(g.AccessLog)
	h.number(int(g.LogStream))
	h.string(fmt.Sprint(g.AuditOnly, g.DefaultAction, g.HasAllowPolicy, g.DNS, g.Addresses, g.Limits))
	return h.sum()
}

// hasher digests model values: each is preceded by its length or count, so that
// no two different sequences run together.
type hasher struct {
	hash.Hash
	buf []byte
}

func newHasher() *hasher { return &hasher{Hash: sha256.New()} }

func (h *hasher) number(n int) {
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(n))
	_, _ = h.Write(h.buf) // a hash's Write never fails
}

func (h *hasher) bool(v bool) {
	if v {
		h.number(1)
	} else {
		h.number(0)
	}
}

func (h *hasher) string(s string) {
	h.number(len(s))
	h.buf = append(h.buf[:0], s...)
	_, _ = h.Write(h.buf)
}

func (h *hasher) sum() (out [sha256.Size]byte) {
	h.Sum(out[:0])
	return out
}

// entry digests what the translation reads of an entry, and no more: not where
// it was written, nor a rule's other hosts.
func (h *hasher) entry(e *model.Entry) {
	h.string(e.Pattern.String())
	h.exportTo(e)
	h.number(int(e.Dial.Port))
	h.string(e.Dial.Host)
	h.number(len(e.Dial.Addresses))
	for _, a := range e.Dial.Addresses {
		h.string(a.String())
	}
	h.bool(e.Dial.AllowPrivate)
	for _, rules := range [][]*model.Rule{e.Rules, e.Overlapping} {
		for _, r := range rules {
			if r.Via.Has(model.ViaTLS) {
				h.rule(e, r)
			}
		}
		h.number(0) // no rule starts like this: their IDs are not empty
	}
}

func (h *hasher) exportTo(e *model.Entry) {
	h.bool(e.ExportTo == nil)
	h.number(len(e.ExportTo))
	for _, ns := range e.ExportTo {
		h.string(ns)
	}
}

func (h *hasher) matches(all []model.PrincipalMatch) {
	h.number(len(all))
	for _, m := range all {
		h.number(int(m.Kind))
		h.string(m.Value)
	}
}

func (h *hasher) rule(e *model.Entry, r *model.Rule) {
	h.subject(r)
	if !e.Pattern.IsWildcard() {
		return
	}
	for _, to := range r.To {
		h.number(len(to.Hosts))
		for _, p := range to.Hosts {
			h.string(p.String())
		}
		h.number(len(to.Except))
		for _, p := range to.Except {
			h.string(p.String())
		}
	}
}
