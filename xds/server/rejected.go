package server

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/xds/snapshot"
)

const (
	// maxReason bounds how much of a gateway's words is searched for what is at
	// fault, in bytes: Envoy names a listener a line.
	maxReason = 16 << 10
	// maxSuspects is how many resources are looked into of those that may be at
	// fault.
	maxSuspects = 64
	// maxCauses is how many causes of a rejection are kept.
	maxCauses = 10
)

// Rejection is what a gateway would not take, for those who know where it was
// written.
type Rejection struct {
	// Type is "cluster", "secret", "listener" or "route".
	Type string
	// Resources are those that are at fault; or if the gateway did not say which,
	// all that it was sent.
	Resources []RejectedResource
}

// RejectedResource is a resource that a gateway would not take.
type RejectedResource struct {
	Name string
	// Reason is what the gateway says about it, as it came: treat it as the words
	// of a stranger.
	Reason string
}

// Cause is a place in the policy that a rejected resource was made from.
type Cause struct {
	// Resource is Envoy's name of the resource; empty if any of those that were
	// sent may be meant.
	Resource string `json:"resource,omitempty"`
	// Position is where it is written.
	Position diag.Position `json:"position,omitzero"`
	// What says, for a person, what is written there.
	What string `json:"what"`
}

// String is the line a person sees, file:line:col: what.
func (c Cause) String() string {
	if c.Position.IsZero() {
		return c.What
	}
	return c.Position.String() + ": " + c.What
}

// causesOf asks the group what a rejection came from, within bounds. It returns
// how many causes there are beyond those.
func (p *published) causesOf(r Rejection) (causes []Cause, more int) {
	if p == nil || p.Causes == nil {
		return nil, 0
	}
	all := p.Causes(r)
	return all[:min(len(all), maxCauses)], max(0, len(all)-maxCauses)
}

// reasons divides a message among the resources that it names: what is said from
// a name on, up to the next one, is about it. One that is not named gets all.
func reasons(names []string, message string) []RejectedResource {
	type mention struct{ at, of int }
	var all []mention
	for i, name := range names {
		for at := indexName(message, name, 0); at >= 0; at = indexName(message, name, at+len(name)) {
			all = append(all, mention{at, i})
		}
	}
	slices.SortFunc(all, func(a, b mention) int { return a.at - b.at })
	out := make([]RejectedResource, len(names))
	for i, m := range all {
		end := len(message)
		if i+1 < len(all) {
			end = all[i+1].at
		}
		out[m.of].Reason += message[m.at:end]
	}
	for i, name := range names {
		out[i].Name = name
		if out[i].Reason == "" {
			out[i].Reason = message
		}
	}
	return out
}

// rejected are the resources of a type that a gateway does not have as its
// group is served them, because it rejected them. The gateway keeps rejecting
// its group's configuration for as long as they stay as they are, whatever else
// it accepts meanwhile. The zero value has none.
type rejected struct {
	// named are those that the gateway named, with their versions.
	named map[string]string
	// among are such that it did not take one or more of them, and did not say
	// which.
	among map[string]string
}

// add takes what atFault found in a response.
func (r *rejected) add(faulty []string, certain bool, versions map[string]string) {
	if !certain {
		r.among = make(map[string]string, len(faulty))
		for _, name := range faulty {
			r.among[name] = versions[name]
		}
		return
	}
	if r.named == nil {
		r.named = make(map[string]string, len(faulty))
	}
	for _, name := range faulty {
		r.named[name] = versions[name]
	}
}

// sending forgets resources that are sent anew, as the answer will say, and those
// that are taken away: they are not in what the gateway has then.
func (r *rejected) sending(names []string, has map[string]string) {
	for _, name := range names {
		delete(r.named, name)
		if _, ok := r.among[name]; ok {
			r.among = nil
		}
	}
	for name := range r.named {
		if _, ok := has[name]; !ok {
			delete(r.named, name)
		}
	}
	for name := range r.among {
		if _, ok := has[name]; !ok {
			r.among = nil // it may have been this one
			break
		}
	}
}

// holds reports whether something that was rejected is served still.
func (r *rejected) holds(s *snapshot.Snapshot, typeURL string) bool {
	served := func(name, version string) bool {
		item := s.Item(typeURL, name)
		return item != nil && item.Version == version
	}
	for name, version := range r.named {
		if served(name, version) {
			return true
		}
	}
	for name, version := range r.among {
		if !served(name, version) {
			return false // it may have been this one
		}
	}
	return len(r.among) > 0
}

// atFault returns which of the resources of a rejected response are at fault. It
// is certain of those that the message names, or of the only one there is;
// otherwise it returns all of them, and one or more are.
func atFault(names []string, message string) (faulty []string, certain bool) {
	if len(names) == 1 {
		return names, true
	}
	for _, name := range names {
		if indexName(message, name, 0) >= 0 {
			faulty = append(faulty, name)
		}
	}
	if len(faulty) == 0 {
		return names, false
	}
	return faulty, true
}

// indexName finds a name in a message from some byte on, as a whole: policy/1 is
// not in "policy/17". It returns -1 if there is none.
func indexName(message, name string, from int) int {
	for at := from; name != "" && at < len(message); {
		i := strings.Index(message[at:], name)
		if i < 0 {
			break
		}
		begin := at + i
		end := begin + len(name)
		if (begin == 0 || !inName(message[begin-1])) && (end == len(message) || !inName(message[end])) {
			return begin
		}
		at = begin + 1
	}
	return -1
}

// inName reports whether a byte may be in the middle of a resource's name.
func inName(b byte) bool {
	return b == '/' || b == '-' || b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// fields are what the log says of a rejection.
func (n NACK) fields() map[string]any {
	out := map[string]any{
		"version": n.Version, "generation": n.Generation, "resources": n.Resources, "reason": n.Message,
	}
	if len(n.Causes) > 0 {
		causes := make([]string, len(n.Causes))
		for i, c := range n.Causes {
			causes[i] = c.String()
		}
		out["causes"] = causes
	}
	if n.MoreCauses > 0 {
		out["moreCauses"] = n.MoreCauses
	}
	return out
}
