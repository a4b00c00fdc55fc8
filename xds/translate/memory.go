package translate

import (
	"crypto/sha256"
	"reflect"
	"slices"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// memory is what one gateway's last translation left. It trusts that a compiled
// model is never changed: an entry that is the same pointer as it was says what it
// said. Entries that are other pointers are looked at, and may still say the same.
type memory struct {
	// common is the digest of what every policy listener contains, and base what
	// comes from the EgressGateway document alone.
	common [sha256.Size]byte
	base   *base
	// entries are the gateway's, and facts are of them, in their order. Placed are
	// those of them that are registered, placedAt is where in it each entry is, and
	// static are the addresses that they need clusters of.
	entries  []*model.Entry
	facts    []*fact
	placed   []placed
	placedAt []int
	static   map[string]model.Dial
	// workload and originated are the stages of TLS of the workloads' own, and of
	// the gateway's.
	workload, originated *stageMemory
	// direct are the entries that take the route stage's place, in the order of their
	// names, printed for a routing.
	direct    run
	directFor [sha256.Size]byte
	http      httpMemory
}

// fact is what is known of an entry. What depends on the EgressGateway document is
// forgotten with that.
type fact struct {
	entry  *model.Entry
	bucket int
	// static is the cluster of its addresses, if it has any.
	static string
	// key is its routeKey, and cluster and roots are the names of its way out with
	// TLS of the gateway's, if that was asked for.
	key            routeKey
	keyed          bool
	cluster, roots string
	// requested and closed are the entry as asRequested and closed have it.
	requested, closed *model.Entry
	// hidden says that a wildcard of those in httpMemory.wide covers it, as far as
	// that is known.
	hidden, hiddenKnown bool
}

func newFact(e *model.Entry, was *fact) *fact {
	f := &fact{entry: e}
	if was != nil {
		f.bucket = was.bucket
	} else {
		f.bucket = bucketNumber(e.Pattern.String())
	}
	if len(e.Dial.Addresses) > 0 {
		f.static = staticName(e.Dial)
	}
	return f
}

// base is what comes from the EgressGateway document alone.
type base struct {
	settings model.Gateway
	common   common
	// listeners, clusters and secrets are each in the order of their names.
	listeners, clusters, secrets []Resource
	// statics, ways and roots are the clusters and secrets that entries need, by
	// name: their names say all that differs between them.
	statics, ways, roots map[string]Resource
	// anyHost is that of withAnyHost.
	anyHost *model.Entry
}

// settings is all of the gateway that its resources print, besides its entries.
func settings(g *model.Gateway) model.Gateway {
	return model.Gateway{
		Name: g.Name, TrustDomain: g.TrustDomain, Listeners: g.Listeners,
		AuditOnly: g.AuditOnly, AllowAny: g.AllowAny, DefaultAction: g.DefaultAction, HasAllowPolicy: g.HasAllowPolicy,
		DNS: g.DNS, Addresses: g.Addresses, Limits: g.Limits, Certificates: g.Certificates, AccessLog: g.AccessLog, LogStream: g.LogStream,
	}
}

func (b *builder) base(g *model.Gateway) *base {
	ways := make(map[forwardKind]*forwarding)
	for _, w := range forwardKinds() {
		ways[w] = b.forwarding(g, w)
	}
	out := &base{
		settings: settings(g), anyHost: anyHost(),
		clusters: []Resource{b.nowhere()},
		statics:  make(map[string]Resource), ways: make(map[string]Resource), roots: make(map[string]Resource),
		common: common{
			stages:         workloadStages(),
			inspector:      b.tlsInspector(),
			policyLog:      b.accessLog(g, "policy"),
			principalInput: b.principal(),
			toRefused:      b.toChain(RefusedChain),
			forwards:       ways,
			proxies:        make(map[string]*listener.Filter),
		},
	}
	for _, w := range forwardKinds() {
		out.clusters = append(out.clusters, b.forward(ways[w], g.Limits))
	}
	for _, l := range g.Listeners {
		if isDirect(l) {
			continue // it depends on the hosts
		}
		out.listeners = append(out.listeners, b.entry(g, l))
		if l.Protocol != model.TLS && out.secrets == nil {
			out.secrets = b.secrets(g)
		}
	}
	if socket := g.Certificates.SPIRE; socket != "" && slices.ContainsFunc(g.Listeners, func(l model.Listener) bool { return l.Protocol != model.TLS }) {
		out.clusters = append(out.clusters, b.spire(socket))
	}
	for _, all := range [][]Resource{out.listeners, out.clusters, out.secrets} {
		sortByName(all)
	}
	return out
}

// remembered returns the gateway's memory, without what the EgressGateway document
// has changed.
func (t *Translator) remembered(g *model.Gateway, b *builder) *memory {
	m := t.gateways[g.Name]
	if m != nil && reflect.DeepEqual(m.base.settings, settings(g)) {
		return m
	}
	next := &memory{base: b.base(g), workload: newStageMemory(), originated: newStageMemory()}
	own := next.base.common
	own.gateway = g
	next.common = own.digest()
	if m != nil && m.common == next.common {
		next.workload, next.originated = m.workload, m.originated
	}
	t.gateways[g.Name] = next
	return next
}

// stageMemory is what the last translation left of a pair of stages.
type stageMemory struct {
	// names and hidden are the patterns that route prints, in their order.
	names, hidden   []hostname.Pattern
	routing         *routing          // what route prints of them
	routed          [sha256.Size]byte // the digest of that
	route           Resource
	toRoute         Resource
	slots           map[int]int
	buckets         []*bucket // by slot
	order           []int     // slots by the names of their buckets
	restrictedOf    []*model.Entry
	restricted      map[*model.Entry][]*model.Entry
	restrictedKnown bool
}

// bucket is a policy listener, and the cluster that leads to it.
type bucket struct {
	name string
	// entries are what the listener was printed for, and inside their restricted
	// entries; nil if it is not there.
	entries  []*model.Entry
	inside   map[*model.Entry][]*model.Entry
	input    [sha256.Size]byte
	listener Resource
	cluster  Resource
}

func newStageMemory() *stageMemory { return &stageMemory{slots: make(map[int]int)} }

// placed is an entry in its bucket.
type placed struct {
	*model.Entry
	bucket int
}

func entriesOf(all []placed) []*model.Entry {
	out := make([]*model.Entry, len(all))
	for i, p := range all {
		out[i] = p.Entry
	}
	return out
}

// slot finds a bucket's place.
func (m *stageMemory) slot(number int) int {
	at, ok := m.slots[number]
	if !ok {
		at = len(m.buckets)
		m.slots[number] = at
		m.buckets = append(m.buckets, &bucket{name: bucketName(number)})
		m.order = append(m.order, at)
		slices.SortFunc(m.order, func(a, b int) int { return strings.Compare(m.buckets[a].name, m.buckets[b].name) })
	}
	return at
}

// restrictions is restricted, as long as what that looks at has not changed.
func (m *stageMemory) restrictions(entries []*model.Entry) map[*model.Entry][]*model.Entry {
	var of []*model.Entry
	exported := false
	for _, e := range entries {
		if e.ExportTo != nil || e.Pattern.IsWildcard() {
			of = append(of, e)
			exported = exported || e.ExportTo != nil
		}
	}
	if !exported {
		of = nil
	}
	if !m.restrictedKnown || !slices.Equal(of, m.restrictedOf) {
		m.restrictedKnown, m.restrictedOf, m.restricted = true, of, restricted(of)
	}
	return m.restricted
}

// sort puts entries into their buckets, by slot.
func (m *stageMemory) sort(all []placed) [][]*model.Entry {
	slots := make([]int, len(all))
	var sizes []int
	last, lastSlot := 0, -1
	for i, p := range all {
		if lastSlot < 0 || p.bucket != last {
			last, lastSlot = p.bucket, m.slot(p.bucket)
		}
		slots[i] = lastSlot
		for len(sizes) <= lastSlot {
			sizes = append(sizes, 0)
		}
		sizes[lastSlot]++
	}
	memory := make([]*model.Entry, 0, len(all))
	lists := make([][]*model.Entry, len(m.buckets))
	for slot, n := range sizes {
		lists[slot] = memory[len(memory) : len(memory) : len(memory)+n]
		memory = memory[:len(memory)+n]
	}
	for i, p := range all {
		lists[slots[i]] = append(lists[slots[i]], p.Entry)
	}
	return lists
}

// is reports whether the bucket was printed for these very entries, and those
// inside of them.
func (b *bucket) is(entries []*model.Entry, restricted map[*model.Entry][]*model.Entry) bool {
	if !slices.Equal(b.entries, entries) {
		return false
	}
	if len(b.inside) == 0 && len(restricted) == 0 {
		return true
	}
	for _, e := range entries {
		if e.Pattern.IsWildcard() && !slices.Equal(b.inside[e], restricted[e]) {
			return false
		}
	}
	return true
}
