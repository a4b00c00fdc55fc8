package syntax

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"
	"unicode"

	"sallyport/pkg/hostname"
)

// sentence is text for people: it ends up in logs and in terminals, so it must
// not have characters that command those.
func sentence(what string) value[string] {
	const control = `\x00-\x08\x0b-\x1f\x7f-\x9f`
	schema := jsonSchema{"pattern": `^[^` + control + `]*[^\s` + control + `][^` + control + `]*$`}
	return word(what, schema, func(s string) (string, error) {
		if strings.ContainsFunc(s, func(c rune) bool { return isForbidden(c) || c == '\r' }) {
			return "", fmt.Errorf("%s has characters in it that cannot be seen: remove them", what)
		}
		if s = strings.TrimFunc(s, unicode.IsSpace); s == "" {
			return "", fmt.Errorf("%s is empty: write it, or leave the field out", what)
		}
		return s, nil
	})
}

// objectName is the name of a document, as Kubernetes has them.
func objectName(what string) value[string] {
	return matching(what, `^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`, 253, "team-atlas.wikipedia: lower-case letters, digits, - and .")
}

func namespaceName() value[string] {
	return matching("a namespace", `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, 63, "team-atlas: lower-case letters, digits and -")
}

// looseHost is what an editor can know of a host name: the rest takes IDNA.
const looseHost = `[^*\s/:@%?#\[\]\\"'` + "`" + `<>{}|^,;=&$!()+~]+`

func hostName() value[hostname.Name] {
	return word("a host name", jsonSchema{"pattern": `^` + looseHost + `$`}, hostname.Parse)
}

func hostPattern() value[Host] {
	pattern := word("a host pattern", jsonSchema{"pattern": `^(\*|(\*\.)?` + looseHost + `)$`}, hostname.ParsePattern)
	return value[Host]{what: pattern.what, schema: pattern.schema, read: func(r *reader, n *node) (Host, bool) {
		p, ok := pattern.read(r, n)
		return Host{Pattern: p, Pos: n.pos}, ok
	}}
}

// address is an IP address that can be dialled or listened on.
func address(what string) value[netip.Addr] {
	return word(what, jsonSchema{"pattern": `^[0-9A-Fa-f.:]+$`}, func(s string) (netip.Addr, error) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return a, fmt.Errorf("%q is not an IP address", s)
		}
		return a, checkAddr(a)
	})
}

// checkAddr refuses the addresses that do not mean what they seem to.
func checkAddr(a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return fmt.Errorf("%s has a zone, which means nothing on another machine: leave out %%%s", a, a.Zone())
	case a.Is4In6():
		return fmt.Errorf("%s is an IPv4 address in disguise: write %s", a, a.Unmap())
	case a.IsMulticast():
		return fmt.Errorf("%s is a multicast address, which no connection can have", a)
	}
	return nil
}

func cidr() value[netip.Prefix] {
	return word("an address range", jsonSchema{"pattern": `^[0-9A-Fa-f.:]+/[0-9]{1,3}$`}, func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		if a, addrErr := netip.ParseAddr(s); addrErr == nil {
			return p, fmt.Errorf("%q is an address, not a range: write %s/%d for this one alone", s, a, a.BitLen())
		}
		switch {
		case err != nil:
			return p, fmt.Errorf("%q is not an address range: write it like 10.1.0.0/16 or 2001:db8::/32", s)
		case p.Addr().Is4In6():
			return p, fmt.Errorf("%q is an IPv4 range in disguise: write it as IPv4", s)
		case p != p.Masked():
			return p, fmt.Errorf("%q has bits set after the first %d: the range is %s", s, p.Bits(), p.Masked())
		}
		return p, nil
	})
}

// resolver is the address of a DNS server, with port 53 unless it says so.
func resolver() value[netip.AddrPort] {
	schema := jsonSchema{"pattern": `^([0-9.]+(:[0-9]+)?|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\]:[0-9]+)$`}
	return word("a DNS server", schema, func(s string) (netip.AddrPort, error) {
		at, err := netip.ParseAddrPort(s)
		if a, addrErr := netip.ParseAddr(s); addrErr == nil {
			at, err = netip.AddrPortFrom(a, 53), nil
		}
		switch {
		case err != nil:
			return at, fmt.Errorf(`%q is not the address of a DNS server: write it like 10.0.0.10:53, 10.0.0.10 or "[2001:db8::1]:53"`, s)
		case at.Port() == 0:
			return at, fmt.Errorf("%q has port 0", s)
		case at.Addr().IsUnspecified():
			return at, fmt.Errorf("%q is no server's address", s)
		}
		return at, checkAddr(at.Addr())
	})
}

func port(what string) value[uint16] {
	number := integer(what, 1, 65535)
	return value[uint16]{what: what, schema: number.schema, read: func(r *reader, n *node) (uint16, bool) {
		v, ok := number.read(r, n)
		return uint16(v), ok
	}}
}

func count(what string) value[uint32] {
	number := integer(what, 1, 1<<32-1)
	return value[uint32]{what: what, schema: number.schema, read: func(r *reader, n *node) (uint32, bool) {
		v, ok := number.read(r, n)
		return uint32(v), ok
	}}
}

// duration is a time span with its unit. Zero means none, where that is allowed.
func duration(what string, orNone bool) value[time.Duration] {
	schema := jsonSchema{"pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	v := word(what, schema, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("%q is not a time span: write it with its unit, like 30s, 5m or 1h30m", s)
		case d == 0 && orNone:
		case d < time.Millisecond:
			return 0, fmt.Errorf("%s is at least 1ms, not %s", what, s)
		}
		return d, nil
	})
	read := v.read
	v.read = func(r *reader, n *node) (time.Duration, bool) {
		if n.kind == scalar && r.meanings.of(n) == meansNumber {
			r.errorf(n, "wrong-type", "%s needs a unit: write %ss for seconds, for example", what, n.value)
			return 0, false
		}
		return read(r, n)
	}
	return v
}

// moment is a point in time (RFC 3339). Quoted or not makes no difference.
func moment(what string) value[time.Time] {
	schema := jsonSchema{"pattern": `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`}
	return word(what, schema, func(s string) (time.Time, error) {
		var t time.Time
		// Not time.Parse, which takes more than RFC 3339 allows.
		if err := t.UnmarshalText([]byte(s)); err != nil {
			hint := "2027-03-31T00:00:00Z"
			if day, err := time.Parse(time.DateOnly, s); err == nil {
				hint = day.Format(time.RFC3339)
			}
			return t, fmt.Errorf("%q is not a point in time: write it like %s", s, hint)
		}
		return t, nil
	})
}

// filePath is a path on the gateway's own file system.
// orEmpty is a word that may be the empty string.
func orEmpty(v value[string]) value[string] {
	schema, read := v.schema, v.read
	v.schema = func() jsonSchema {
		return jsonSchema{"anyOf": []any{schema(), jsonSchema{"type": "string", "maxLength": 0}}}
	}
	v.read = func(r *reader, n *node) (string, bool) {
		if n.kind == scalar && n.value == "" && r.meanings.of(n) == meansString {
			return "", true
		}
		return read(r, n)
	}
	return v
}

func filePath(what string) value[string] {
	return word(what, jsonSchema{"pattern": `^/[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]$`}, func(s string) (string, error) {
		switch {
		case !path.IsAbs(s):
			return "", fmt.Errorf("%q is not an absolute path: it is one on the gateway, and starts with /", s)
		case strings.HasSuffix(s, "/"):
			return "", fmt.Errorf("%q is a directory: a file must be named", s)
		case strings.ContainsFunc(s, unicode.IsControl):
			return "", errors.New("the path has characters in it that cannot be seen")
		}
		return s, nil
	})
}

// socketPath is the path of a Unix socket on the gateway's machine, as it is or as
// a URL.
func socketPath() value[string] {
	const most = 107 // what the kernel takes (sockaddr_un)
	schema := jsonSchema{"pattern": `^(unix:(//)?)?/[^\x00-\x1f\x7f/]([^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f])?$`}
	return word("a socket", schema, func(s string) (string, error) {
		file := strings.TrimPrefix(s, "unix:")
		if file != s {
			file = strings.TrimPrefix(file, "//")
		}
		switch {
		case !path.IsAbs(file) || strings.HasPrefix(file, "//") || strings.HasSuffix(file, "/"):
			return "", fmt.Errorf("%q is not a socket on the gateway's machine: write it like unix:///run/spire/agent.sock", s)
		case strings.ContainsFunc(s, unicode.IsControl):
			return "", errors.New("the path has characters in it that cannot be seen")
		case len(file) > most:
			return "", fmt.Errorf("%q is longer than a socket's path can be, %d bytes", s, most)
		}
		return file, nil
	})
}
