package server

import (
	"time"

	"github.com/sirupsen/logrus"
)

// maxReceipts is how many generations of a group are remembered.
const maxReceipts = 32

// Receipt is when one generation of a group was in force. Times are since
// its publication, or since the gateway connected if that was later.
type Receipt struct {
	Generation  uint64    `json:"generation"`
	PublishedAt time.Time `json:"publishedAt"`
	// PreparedMillis is how long it took from the moment that the edit was noticed
	// to the publication, in milliseconds.
	PreparedMillis float64 `json:"preparedMs"`
	// ACKed and NACKed count the gateways that answered all of it. One that a
	// later generation overtook is not counted.
	ACKed  int `json:"acked"`
	NACKed int `json:"nacked"`
	// FirstMillis and LastMillis are the shortest and the longest time an ACK
	// took, in milliseconds.
	FirstMillis float64 `json:"firstMs"`
	LastMillis  float64 `json:"lastMs"`
}

// openReceipt starts counting a generation. The caller holds s.mu.
func (s *Server) openReceipt(group string, r Receipt) {
	all := append(s.receipts[group], r)
	if len(all) > maxReceipts {
		all = all[len(all)-maxReceipts:]
	}
	s.receipts[group] = all
}

// settled counts a gateway that answered everything of a generation, and
// returns the gateway's receipt.
func (s *Server) settled(c *client, p *published) NodeReceipt {
	now := s.now()
	took := now.Sub(c.since(p.at))
	rejects := c.rejects(p)
	s.mu.Lock()
	first := false
	for i, r := range s.receipts[p.Name] {
		if r.Generation != p.generation || p.again {
			continue
		}
		if rejects {
			r.NACKed++
			s.totalsOf(p.Name).Rejected++
		} else {
			if noticed := p.NoticedAt; !noticed.IsZero() && noticed.Before(p.at) {
				s.totalsOf(p.Name).acknowledge(now.Sub(c.since(noticed)))
			} else {
				s.totalsOf(p.Name).acknowledge(took)
			}
			first = r.ACKed == 0
			r.ACKed++
			if first {
				r.FirstMillis = millis(took)
			}
			r.FirstMillis, r.LastMillis = min(r.FirstMillis, millis(took)), max(r.LastMillis, millis(took))
		}
		s.receipts[p.Name][i] = r
	}
	s.mu.Unlock()
	receipt := NodeReceipt{Generation: p.generation, At: now, Millis: millis(took), Rejected: rejects}
	if rejects {
		return receipt // the rejection itself was logged
	}
	level := logrus.DebugLevel
	if first {
		level = logrus.InfoLevel
	}
	if !s.log.IsLevelEnabled(level) {
		return receipt
	}
	c.log().WithFields(logrus.Fields{"generation": p.generation, "ms": took.Milliseconds()}).
		Log(level, "a gateway accepted the generation")
	return receipt
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
