package istio

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/syntax"
)

// serverNames reads the values of connection.sni: nil if there are none.
func (p *parser) serverNames(list []syntax.Text) []hostname.Pattern {
	if len(list) == 0 {
		return nil
	}
	out := []hostname.Pattern{}
	for _, t := range list {
		pattern, err := serverName(t.Value)
		if err != nil {
			p.diags.Errorf(t.Pos, "bad-host", "%v", err)
			continue
		}
		out = append(out, pattern)
	}
	return out
}

// serverName reads a value of connection.sni. Istio compares it byte by byte
// with the server name, which Envoy has in lower case, and knows exact values,
// abc*, *abc and *. Of those we have names, *.abc and *: the rest would have to
// be made wider or narrower, and is an error.
func serverName(s string) (hostname.Pattern, error) {
	if name, err := hostname.FromWire(s); err == nil && string(name) == s && !strings.Contains(s, "xn--") {
		return hostname.Exactly(name), nil // nearly all are plain names, for which IDNA takes long
	}
	rest, suffix := strings.CutPrefix(s, "*")
	switch {
	case s == "*":
		return hostname.ParsePattern(s)
	case strings.Contains(strings.TrimSuffix(rest, "*"), "*"), suffix && strings.Contains(rest, "*"):
		return hostname.Pattern{}, fmt.Errorf("%q has a * that Istio takes for itself, which no server name contains: * stands at the start, as in *.example.com, or alone", s)
	case suffix && !strings.HasPrefix(rest, "."):
		return hostname.Pattern{}, fmt.Errorf("%q cannot be honoured: it matches parts of labels; write \"*.%s\" for the names below %s, and name the others one by one", s, rest, rest)
	case !suffix && strings.Contains(s, "*"):
		return hostname.Pattern{}, fmt.Errorf("%q cannot be honoured: a host pattern has no * at its end; name the hosts one by one, or use *.DOMAIN with notValues", s)
	}
	p, err := hostname.ParsePattern(s)
	switch {
	case err != nil:
		return hostname.Pattern{}, fmt.Errorf("no server name matches this: %w", err)
	case p.String() != s:
		return hostname.Pattern{}, fmt.Errorf("no server name matches %q, because they are in lower case, without a trailing dot, and in the letters of DNS: write %s", s, p)
	}
	return p, nil
}

// hosts reads the values of an operation's hosts or notHosts: nil if there are
// none.
//
// Istio compares them, in any case, with the whole authority of an HTTP
// request, which may have a port: example.com is not example.com:443, and
// "example.com:*" is only what has one. We decide on the host alone, and for that
// Istio has the pair of both. See
// https://istio.io/latest/docs/ops/best-practices/security/#writing-host-match-policies
func (p *parser) hosts(list []syntax.Text) []hostname.Pattern {
	if len(list) == 0 {
		return nil
	}
	out := []hostname.Pattern{}
	bare, ported := make(map[hostname.Name]syntax.Text), make(map[hostname.Name]syntax.Text)
	for _, t := range list {
		if t.Value == "*" {
			everything, _ := hostname.ParsePattern(t.Value) // is one
			out = append(out, everything)
			continue
		}
		name, anyPort, err := requestHost(t.Value)
		switch {
		case err != nil:
			p.diags.Errorf(t.Pos, "bad-host", "%v", err)
		case anyPort:
			ported[name] = t
		default:
			bare[name] = t
			out = append(out, hostname.Exactly(name))
		}
	}
	p.unpaired(bare, ported, "%[1]s is only honoured together with \"%[1]s:*\": Istio compares it with all of what a request asks for, "+
		"and a CONNECT asks for %[1]s:443; add the other, or use `when` with the key connection.sni")
	p.unpaired(ported, bare, "\"%[1]s:*\" is only honoured together with %[1]s: Istio compares it with all of what a request asks for, "+
		"and a request may ask for no port; add the other, or use `when` with the key connection.sni")
	return out
}

// unpaired reports what is in one and not in the other.
func (p *parser) unpaired(one, other map[hostname.Name]syntax.Text, format string) {
	var alone []syntax.Text
	for name, t := range one {
		if _, ok := other[name]; !ok {
			alone = append(alone, syntax.Text{Value: string(name), Pos: t.Pos})
		}
	}
	slices.SortFunc(alone, func(a, b syntax.Text) int { return a.Pos.Compare(b.Pos) })
	for _, t := range alone {
		p.diags.Errorf(t.Pos, "not-honoured", format, t.Value)
	}
}

// requestHost reads one host, without a port or with any.
func requestHost(s string) (name hostname.Name, anyPort bool, err error) {
	host, anyPort := strings.CutSuffix(s, ":*")
	if strings.Contains(host, "*") {
		return "", false, fmt.Errorf("%q cannot be honoured: Istio compares it with all of what a request asks for, also with the port, and we decide on the host alone; "+
			"use `when` with the key connection.sni, which for HTTP is the host that is asked for", s)
	}
	if strings.Contains(host, ":") {
		return "", false, fmt.Errorf("%q cannot be honoured: it is about one port, and we decide on the host alone; which ports may be asked for is the Destination's to say", s)
	}
	name, err = hostname.Parse(host)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("no request asks for this: %w", err)
	case string(name) != strings.ToLower(host):
		return "", false, fmt.Errorf("no request asks for %q: write %s", s, name)
	}
	return name, anyPort, nil
}
