package main

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/control"
	"sallyport/xds/server"
)

// nodeKey tells gateways apart over their connections.
type nodeKey struct{ group, id, identity string }

func keyOf(n server.NodeStatus) nodeKey { return nodeKey{n.ServedGroup, n.ID, n.Identity} }

func (k nodeKey) String() string {
	if k.id == "" {
		return k.identity
	}
	return k.id
}

// standing is how far the gateways are with a generation.
type standing struct {
	// Enforcing are how many gateways of each group acknowledged it, or a later one.
	Enforcing map[string]int `json:"enforcing"`
	// Pending is what is missing, Rejected which gateways will not have it, a line
	// each.
	Pending  []string `json:"pending"`
	Rejected []string `json:"rejected"`
}

// judgement is what is asked about a status.
type judgement struct {
	generation uint64
	atLeast    int
	// seen are the gateways that were connected at some time of the wait.
	seen map[nodeKey]bool
}

// of says how far the gateways of the groups in a status are. Groups that no
// document describes any more follow no edits: their gateways are not asked.
func (j judgement) of(s control.Status, named bool) standing {
	out := standing{Enforcing: map[string]int{}, Pending: []string{}, Rejected: []string{}}
	for _, g := range s.Groups {
		if g.Orphaned && !named {
			continue
		}
		j.group(g, s.Nodes, &out)
	}
	return out
}

func (j judgement) group(g server.GroupStatus, nodes []server.NodeStatus, out *standing) {
	need := needed(g, j.generation)
	j.rollout(g, need, out)
	out.Enforcing[g.Name] = 0
	connected := make(map[nodeKey]bool)
	present := 0
	for _, n := range nodes {
		if n.ServedGroup != g.Name {
			continue
		}
		present++
		connected[keyOf(n)] = true
		j.seen[keyOf(n)] = true
		switch {
		case n.Generation >= need:
			out.Enforcing[g.Name]++
		case n.Rejecting:
			out.Rejected = append(out.Rejected, rejection(n))
		default:
			out.Pending = append(out.Pending, fmt.Sprintf("%s of %s has not acknowledged it: %s", keyOf(n), g.Name, lag(n)))
		}
	}
	var gone []string
	for k := range j.seen {
		if k.group == g.Name && !connected[k] {
			gone = append(gone, fmt.Sprintf("%s of %s is not connected any more, and goes on with what it had", k, g.Name))
		}
	}
	slices.Sort(gone)
	out.Pending = append(out.Pending, gone...)
	switch {
	case present >= j.atLeast:
	case present == 0:
		out.Pending = append(out.Pending, fmt.Sprintf("no gateway of %s is connected, so nothing enforces it there (--at-least 0 takes that for enough, --gateway leaves other groups out)", g.Name))
	default:
		out.Pending = append(out.Pending, fmt.Sprintf("%s of %s connected, and --at-least %d are wanted", plural(present, "gateway"), g.Name, j.atLeast))
	}
}

// rollout says how a generation gets to the gateways of a group, if it is not to be
// given to all of them yet, or was taken back.
func (j judgement) rollout(g server.GroupStatus, need uint64, out *standing) {
	r := g.Rollout
	switch {
	case r == nil, need <= r.Base:
	case r.State == server.RolloutStopped:
		lines := []string{g.Name + ": " + r.String()}
		if r.NACK != nil {
			lines = append(lines, causeLines(*r.NACK)...)
		}
		out.Rejected = append(out.Rejected, strings.Join(lines, "\n    "))
	default:
		out.Pending = append(out.Pending, g.Name+": "+r.String())
	}
}

// needed is the generation of the group that has what a generation of the control
// plane says: its last one up to that. If that is too long ago to be known, a later
// one has it too.
func needed(g server.GroupStatus, generation uint64) uint64 {
	need := g.Generation
	for _, r := range g.Receipts { // newest first
		need = r.Generation
		if r.Generation <= generation {
			break
		}
	}
	return need
}

// rejection says what a gateway rejected last, and where that was written.
func rejection(n server.NodeStatus) string {
	nack, kind := n.LastNACK()
	if nack == nil {
		return fmt.Sprintf("%s of %s rejects it", keyOf(n), n.ServedGroup)
	}
	lines := []string{fmt.Sprintf("%s of %s rejected its %ss of generation %d: %s", keyOf(n), n.ServedGroup, kind, nack.Generation, inLines(nack.Message))}
	return strings.Join(append(lines, causeLines(*nack)...), "\n    ")
}

// causeLines are where what was rejected is written.
func causeLines(n server.NACK) []string {
	var out []string
	for _, c := range n.Causes {
		out = append(out, c.String())
	}
	if n.MoreCauses > 0 {
		out = append(out, fmt.Sprintf("and %s more", plural(n.MoreCauses, "place")))
	}
	return out
}

// inLines gives the lines back that a gateway's message had.
func inLines(message string) string {
	return strings.TrimSpace(strings.ReplaceAll(message, `\u000a`, "\n    "))
}
