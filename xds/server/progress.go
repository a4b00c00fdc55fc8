package server

import "time"

// maxNodeReceipts is how many generations are remembered of each connected
// gateway. They go when it does.
const maxNodeReceipts = 8

// NodeReceipt is when one gateway answered all of a generation of its group.
type NodeReceipt struct {
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	// Millis is how long that took since the publication, or since the gateway
	// connected if that was later, in milliseconds.
	Millis float64 `json:"ms"`
	// Rejected says that the answer was no, to something in it.
	Rejected bool `json:"rejected,omitempty"`
}

// progress is how far a gateway has come with what its group is served.
type progress struct {
	// accepted is the last generation that the gateway accepted whole, zero if
	// it did none on this stream, and change its number among those of the group.
	accepted, change uint64
	// lacksSince is since when the gateway has lacked something, known once it
	// rejected it.
	lacksSince time.Time
	// receipts are the latest, newest last.
	receipts []NodeReceipt
}

// settle takes a gateway's answer to all of a generation. Since is when the
// gateway could first have had it.
func (g *progress) settle(p *published, since time.Time, r NodeReceipt) {
	if len(g.receipts) == maxNodeReceipts {
		g.receipts = append(g.receipts[:0], g.receipts[1:]...)
	}
	g.receipts = append(g.receipts, r)
	switch {
	case !r.Rejected:
		g.accepted, g.change, g.lacksSince = p.generation, p.change, time.Time{}
	case g.lacksSince.IsZero():
		g.lacksSince = since
		if g.accepted == 0 {
			g.change = p.change - 1 // it lacks this one, as far as is known
		}
	}
}

// lag is how many generations of its group a gateway that connected at a time
// is behind, and since when. Receipts are the group's, oldest first.
func (g *progress) lag(p *published, connected time.Time, receipts []Receipt) (behind int, since time.Time) {
	if g.accepted == p.generation {
		return 0, time.Time{}
	}
	since = g.lacksSince
	known := g.accepted > 0 || !since.IsZero() // it has answered a generation
	if known {
		behind = int(p.change - g.change)
	}
	before := 0 // generations that were there when it connected
	for _, r := range receipts {
		switch {
		case known:
		case r.PublishedAt.After(connected):
			behind++
		default:
			before = 1 // whether it has this one is not known: it has not said so
		}
		if since.IsZero() && r.Generation > g.accepted {
			since = r.PublishedAt
		}
	}
	if since.Before(connected) {
		since = connected
	}
	return behind + before, since
}
