// Package diff compares two compiled policies: which principal gains and loses
// which host, and by which line, and what else matters about a gateway. It
// compares what the policies mean, not how they are written: a rule that moved
// to another file is no difference, a Deny rule that comes to stand before an
// Allow rule is one.
//
// The comparison is exact. Hosts are cut into regions and principals into
// classes, such that neither policy tells the members of one apart; one member
// of each is put to both models' own verdict (model.Gateway.Decide).
package diff
