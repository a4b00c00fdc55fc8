package ui

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sallyport/pkg/flows/store"
	"sallyport/pkg/plain"
	"sallyport/policy/model"
)

// chartSpan is a time that charts show.
type chartSpan struct {
	// Key is its word in the address; Last is in titles, as "in the last hour", and Each
	// is a step.
	Key, Last, Each string
	Length, Step    time.Duration
}

func chartSpans() []chartSpan {
	const day = 24 * time.Hour
	return []chartSpan{
		{"hour", "hour", "minute", time.Hour, time.Minute},
		{"day", "day", "15 minutes", day, 15 * time.Minute},
		{"week", "week", "hour", 7 * day, time.Hour},
	}
}

// chart is how many connections were allowed, and how many refused, over time.
type chart struct {
	chartSpan
	// Group is that of gateways; empty for all.
	Group   string
	Choices []navItem
	Series  []series
	// Rows say the same as a table, the latest first, without those that are zero.
	Rows []chartRow
	// Reasons are why connections were refused, the most frequent first.
	Reasons []reasonCount
}

// series is one half of a chart, with a scale of its own: a few refusals among ten
// thousand connections must show.
type series struct {
	// Name and Class are the verdict's, in words and for the style.
	Name, Class string
	Total, Most uint64
	Bars        []bar
	// From and Until are its ends.
	From, Until time.Time
	// Width and Height are those of the drawing.
	Width, Height int
	Chart         chartSpan
}

// bar is one step that is not zero.
type bar struct {
	X, Width  int
	Y, Height string
	Title     string
}

type chartRow struct {
	Start            time.Time
	Allowed, Refused uint64
}

type reasonCount struct {
	Reason model.Reason
	Count  uint64
}

// The drawing: a step is barStep wide, of which barGap stay empty.
const (
	barStep, barGap = 5, 1
	chartHeight     = 60
)

// charts keeps what was counted for a moment, as several may look at the same.
type charts struct {
	mu   sync.Mutex
	kept map[string]*kept[countedUp]
}

type countedUp struct {
	counts []store.Count
	err    error
}

const (
	chartAge = 2 * time.Second
	// maxCharts is how many are kept.
	maxCharts = 64
)

func (c *charts) get(key string) *kept[countedUp] {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kept[key]
	if k == nil {
		if c.kept == nil || len(c.kept) >= maxCharts {
			c.kept = make(map[string]*kept[countedUp])
		}
		k = &kept[countedUp]{}
		c.kept[key] = k
	}
	return k
}

// chart is that of a group of gateways, of the time that the query says.
func (u *UI) chart(ctx context.Context, q Query, group string) (chart, error) {
	spans := chartSpans()
	out := chart{chartSpan: spans[0], Group: group}
	for _, s := range spans {
		if s.Key == q.Get("span") {
			out.chartSpan = s
		}
	}
	for _, s := range spans {
		out.Choices = append(out.Choices, navItem{Title: "last " + s.Last, Address: q.With("span", s.Key), Current: s.Key == out.Key})
	}
	now := u.o.Now()
	until := now.Truncate(out.Step).Add(out.Step)
	span := store.Span{Since: until.Add(-out.Length), Until: now, Step: out.Step}
	// It is not the browser's context: others wait for the same.
	counted := u.charts.get(out.Key+" "+strconv.FormatInt(until.Unix(), 10)+" "+group).get(time.Now(), chartAge, func() countedUp {
		counts, err := u.o.Flows.Counts(context.WithoutCancel(ctx), group, span)
		return countedUp{counts, err}
	})
	if counted.err != nil {
		return out, fmt.Errorf("the store of flows: %w", counted.err)
	}
	out.draw(counted.counts, span.Since, until)
	return out, nil
}

// draw makes the drawing and the table.
func (c *chart) draw(counts []store.Count, from, until time.Time) {
	steps := int(until.Sub(from) / c.Step)
	rows := make([]chartRow, steps)
	reasons := make(map[model.Reason]uint64)
	for i := range rows {
		rows[i].Start = from.Add(time.Duration(i) * c.Step)
	}
	for _, n := range counts {
		i := int(n.Start.Sub(from) / c.Step)
		if i < 0 || i >= steps {
			continue
		}
		if n.Verdict == model.Allow {
			rows[i].Allowed += n.Count
		} else {
			rows[i].Refused += n.Count
			reasons[n.Reason] += n.Count
		}
	}
	c.Series = []series{
		c.half("Allowed", "good", rows, func(r chartRow) uint64 { return r.Allowed }),
		c.half("Refused", "bad", rows, func(r chartRow) uint64 { return r.Refused }),
	}
	for _, r := range slices.Backward(rows) {
		if r.Allowed+r.Refused > 0 {
			c.Rows = append(c.Rows, r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		c.Reasons = append(c.Reasons, reasonCount{r, reasons[r]})
	}
	slices.SortStableFunc(c.Reasons, func(a, b reasonCount) int { return cmp.Compare(b.Count, a.Count) })
}

func (c *chart) half(name, class string, rows []chartRow, of func(chartRow) uint64) series {
	s := series{
		Name: name, Class: class, From: rows[0].Start, Until: rows[len(rows)-1].Start.Add(c.Step),
		Width: len(rows) * barStep, Height: chartHeight, Chart: c.chartSpan,
	}
	for _, r := range rows {
		s.Total += of(r)
		s.Most = max(s.Most, of(r))
	}
	for i, r := range rows {
		n := of(r)
		if n == 0 {
			continue
		}
		const least = 1.5 // so that one among a million shows
		height := max(least, chartHeight*float64(n)/float64(s.Most))
		s.Bars = append(s.Bars, bar{
			X: i * barStep, Width: barStep - barGap, Y: tenths(chartHeight - height), Height: tenths(height),
			Title: fmt.Sprintf("%s: %s %s", r.Start.UTC().Format("Mon 15:04"), count(n), strings.ToLower(name)),
		})
	}
	return s
}

func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// regions are what is live of a chart.
func (c chart) regions() []Region {
	return []Region{
		{ID: "chart-figures", Template: "chart-figures", Data: c},
		{ID: "chart-tables", Template: "chart-tables", Data: c},
	}
}

// Title is that of the chart.
func (c chart) Title() string { return "Connections in the last " + c.Last }

// Ended says what is counted.
func (c chart) Ended() string {
	all := "all gateways"
	if c.Group != "" {
		all = "the gateways of " + Visible(c.Group)
	}
	return "Through " + all + ", in steps of " + c.step() + ". A connection is counted when it ends, at the time at which it began."
}

func (c chart) step() string {
	if c.Step == c.Step.Truncate(time.Hour) || c.Step == time.Minute {
		return "one " + c.Each
	}
	return plain.Span(c.Step)
}
