package flows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"sallyport/policy/model"
)

// Asked is what a line of a log says a workload asked a gateway for, and what
// came of it then.
type Asked struct {
	Time time.Time `json:"time"`
	// Gateway is the group of gateways.
	Gateway string `json:"gateway"`
	// Principal is a SPIFFE ID, or empty for the anonymous principal.
	Principal string `json:"principal"`
	// Way is how it asked, and Host for what: a server name, or for a request
	// HOST or HOST:PORT, as they were sent.
	Way  model.Way `json:"via"`
	Host string    `json:"host"`
	// Verdict, Reason and Rule are those of the line.
	Verdict model.Verdict `json:"verdict"`
	Reason  model.Reason  `json:"reason"`
	Rule    string        `json:"rule,omitempty"`
}

// ReadAsked reads a line as a gateway's Envoy writes it, or as `sallyport flows`
// does, in JSON or as text. What stands before the JSON or the time, such as
// the name of a container, is passed over. The model, which may be nil, is what
// the log of a gateway is attributed with.
//
// It is an error if the line is about a connection that ended before it was known
// who asks for what.
func ReadAsked(line []byte, m *model.Model) (Asked, error) {
	f, err := ReadAny(line, m)
	if err != nil {
		return Asked{}, err
	}
	return AskedOf(f)
}

// AskedOf is what was asked for by a flow. It is an error as for ReadAsked.
func AskedOf(f Flow) (Asked, error) {
	switch f.Reason {
	case TLSHandshake, BadIdentity, ClosedEarly, BadRequest:
		return Asked{}, fmt.Errorf("there was nothing for a policy to decide: the connection ended before it asked for a host (%s: %s)", f.Reason, Explanation(f.Reason))
	}
	a := Asked{Time: f.Time, Gateway: f.Instance, Host: f.RequestedServerName, Verdict: f.Verdict, Reason: f.Reason, Rule: f.Rule}
	if f.SourcePrincipal != "" {
		a.Principal = "spiffe://" + f.SourcePrincipal
	}
	if f.Via != "" {
		if err := a.Way.UnmarshalText([]byte(f.Via)); err != nil {
			return Asked{}, err
		}
		a.Host = f.Authority
	}
	return a, nil
}

// ErrPassedOn says of a line that it tells of no decision, see PassedOn.
var ErrPassedOn = errors.New("the line is only the end of a connection: the one before, with the same `connection`, says what was asked")

// ReadAny reads a line as ReadAsked does, as a flow. From text only what was asked
// for is known, and what came of it.
func ReadAny(line []byte, m *model.Model) (Flow, error) {
	// In text everything that a workload sent, but its principal, is behind the
	// arrow; in JSON all of it is behind the brace.
	before, _, _ := bytes.Cut(line, []byte("→"))
	if start := bytes.IndexByte(before, '{'); start >= 0 {
		return readJSON(line[start:], m)
	}
	return readText(string(line))
}

// readJSON reads a line of a gateway's log, or a flow.
func readJSON(line []byte, m *model.Model) (Flow, error) {
	var kind struct{ Stage, Instance string }
	if err := json.Unmarshal(line, &kind); err != nil {
		return Flow{}, fmt.Errorf("not a line of a log: %w", err)
	}
	if kind.Stage == "" && kind.Instance != "" {
		var f Flow
		if err := json.Unmarshal(line, &f); err != nil {
			return Flow{}, fmt.Errorf("not a line of `sallyport flows`: %w", err)
		}
		return f, nil
	}
	f, ok, err := Read(line, m)
	if err == nil && !ok {
		err = ErrPassedOn
	}
	return f, err
}

// readText reads what Flow.Text writes, as far as it is of use here.
func readText(line string) (Flow, error) {
	// What a workload sent has no spaces (word), so it cannot pass for another line.
	found := regexp.MustCompile(`^(?:[^→]*\s)?(\d{4}-\S+Z) (Allow|Deny) +(\S+) → (\S+|` + noServerName +
		`) \(([^\s,()]*)(?:, from ([0-9a-fA-F.:\[\]]+))?(?:, ([A-Z]+) (\d+))?\): ([a-z-]+)(|[ ,;].*)$`).FindStringSubmatch(line)
	if found == nil {
		return Flow{}, errors.New("not a line of a gateway's log, nor of `sallyport flows`: expected JSON, or TIME VERDICT PRINCIPAL → HOST (GATEWAY, …): REASON")
	}
	f := Flow{Reason: model.Reason(found[9])}
	var err error
	if f.Time, err = time.Parse(time.RFC3339Nano, found[1]); err != nil {
		return Flow{}, err
	}
	if err := f.Verdict.UnmarshalText([]byte(found[2])); err != nil {
		return Flow{}, err
	}
	for _, text := range []struct {
		to      *string
		escaped string
		none    []string
	}{
		{&f.SourcePrincipal, found[3], []string{noPrincipal, unknownPrincipal}},
		{&f.RequestedServerName, found[4], []string{noServerName}},
		{&f.Instance, found[5], nil},
	} {
		if *text.to, err = unescape(text.escaped); err != nil {
			return Flow{}, err
		}
		for _, none := range text.none {
			if *text.to == none {
				*text.to = ""
			}
		}
	}
	if method := found[7]; method != "" {
		f.Method, f.Via, f.Authority = method, viaOf(method), f.RequestedServerName
	}
	if rule := regexp.MustCompile(`ns\[\S*\]-policy\[\S+\]-rule\[\d+\]`).FindString(found[10]); rule != "" {
		f.Rule = rule
	}
	return f, nil
}

// Against says in a sentence, or two, how what came of it then compares with
// what the policy says now.
func (a Asked) Against(verdict model.Verdict, reason model.Reason) string {
	then := fmt.Sprintf("The log says: %s (%s) at %s", a.Verdict, a.Reason, a.Time.UTC().Format(time.RFC3339))
	if a.Rule != "" {
		then += ", by " + escape(a.Rule)
	}
	switch {
	case a.Reason == PrivateAddress || a.Reason == NoAddress:
		return then + ". That is about the address that the name led to (" + Explanation(a.Reason) + "), which the policy does not know."
	case a.Verdict != verdict:
		return then + ". The policy has changed since."
	case a.Reason != reason && a.Reason != PolicyChanged && a.Reason != UnknownGateway:
		return then + ". The verdict is the same, for another reason: the policy has changed since."
	default:
		return then + "."
	}
}
