// Package collect makes flows of what gateways stream of their access logs: it
// reads the records, ties the open and the end of a connection together, adds what
// the policy knows, counts, and hands each flow to sinks. Nothing in it waits: a sink
// that is slow drops, and counts what it drops.
package collect

import (
	"sync/atomic"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// Sink is given every flow. Add must not wait, and is called by many goroutines.
type Sink interface {
	Add(*flows.Event)
}

// Options are what a Collector is made with.
type Options struct {
	// Model is the policy in force, which may be nil.
	Model func() *model.Model
	Sinks []Sink
	// MaxOpen is how many open connections are remembered, and OpenFor for how
	// long; 50,000 and a day if zero. What goes beyond is forgotten, oldest first,
	// and counted.
	MaxOpen int
	OpenFor time.Duration
	// Now is the clock of OpenFor; time.Now if nil.
	Now func() time.Time
}

// Collector makes flows of records. Use New.
type Collector struct {
	model  func() *model.Model
	sinks  []Sink
	open   *openTable
	counts *counters

	unreadable atomic.Uint64
}

const (
	defaultMaxOpen = 50_000
	defaultOpenFor = 24 * time.Hour
)

// New makes a collector.
func New(o Options) *Collector {
	if o.MaxOpen == 0 {
		o.MaxOpen = defaultMaxOpen
	}
	if o.OpenFor == 0 {
		o.OpenFor = defaultOpenFor
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Collector{
		model: o.Model, sinks: o.Sinks, counts: newCounters(),
		open: newOpenTable(o.MaxOpen, o.OpenFor, o.Now),
	}
}

// Received takes a message of a gateway of the group, which calls itself node.
func (c *Collector) Received(group, node string, m *als.StreamAccessLogsMessage) {
	var g *model.Gateway
	if all := c.model(); all != nil {
		g = all.FindGateway(group)
	}
	received := c.counts.received(group)
	for _, e := range m.GetTcpLogs().GetLogEntry() {
		received.Inc()
		r, err := flows.FromTCP(group, e)
		c.record(r, err, node, g)
	}
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		received.Inc()
		r, err := flows.FromHTTP(group, e)
		c.record(r, err, node, g)
	}
}

func (c *Collector) record(r flows.EnvoyRecord, err error, node string, g *model.Gateway) {
	if err != nil {
		c.unreadable.Add(1)
		return
	}
	if r.PassedOn() {
		return
	}
	f := flows.Attribute(r, g)
	f.Gateway = node
	c.tie(&f)
	event, err := flows.NewEvent(f)
	if err != nil {
		c.unreadable.Add(1)
		return
	}
	c.counts.flow(event, g)
	for _, s := range c.sinks {
		s.Add(event)
	}
}

// tie remembers an open connection until its end. What the policy said of it when
// it opened is known then, also if that rule has gone since.
func (c *Collector) tie(f *flows.Flow) {
	if f.Connection == "" || f.Refused() {
		return // what was refused was never open
	}
	key := connection{f.Instance, f.Connection}
	if !f.Ended() {
		c.open.add(key, *f)
		return
	}
	was, ok := c.open.remove(key)
	if ok && f.File == "" && was.Rule == f.Rule {
		f.File, f.Line = was.File, was.Line
	}
}

// Open are the connections that are open, as far as is known, oldest first.
func (c *Collector) Open() []flows.Flow { return c.open.all() }
