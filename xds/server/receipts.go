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

// settled counts a gateway that answered everything of a generation.
func (s *Server) settled(c *client, p *published) {
	took := s.now().Sub(c.since(p.at))
	rejects := c.rejects(p)
	s.mu.Lock()
	first := false
	for i, r := range s.receipts[p.Name] {
		if r.Generation != p.generation {
			continue
		}
		if rejects {
			r.NACKed++
		} else {
			first = r.ACKed == 0
			r.ACKed++
			millis := float64(took.Microseconds()) / 1000
			if first {
				r.FirstMillis = millis
			}
			r.FirstMillis, r.LastMillis = min(r.FirstMillis, millis), max(r.LastMillis, millis)
		}
		s.receipts[p.Name][i] = r
	}
	s.mu.Unlock()
	if rejects {
		return // the rejection itself was logged
	}
	level := logrus.DebugLevel
	if first {
		level = logrus.InfoLevel
	}
	c.log().WithFields(logrus.Fields{"generation": p.generation, "ms": took.Milliseconds()}).
		Log(level, "a gateway accepted the generation")
}
