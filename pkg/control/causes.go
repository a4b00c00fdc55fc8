package control

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

// causesOf says where what the group's gateways reject is written, by the policy
// in force when they do.
func (c *Controller) causesOf(group string) func(server.Rejection) []server.Cause {
	return func(r server.Rejection) []server.Cause {
		c.mu.Lock()
		g := c.served[group]
		c.mu.Unlock()
		if g == nil {
			return nil
		}
		return causes(g, r)
	}
}

// causes finds what each rejected resource was made from. What Envoy's words name
// comes first, for it is the likeliest: a filter chain or a rule, by their names
// (see translate.GrantName); a file on the gateway; a host. If they name nothing
// that the policy has, it is all that the resource was made from.
func causes(g *model.Gateway, r server.Rejection) []server.Cause {
	var named, made []server.Cause
	for _, resource := range r.Resources {
		w := words{gateway: g, resource: resource.Name, text: resource.Reason}
		found := w.rules()
		found = append(found, w.files()...)
		if len(found) == 0 {
			found = w.hosts()
		}
		if named = append(named, found...); len(found) == 0 {
			made = append(made, sources(g, resource.Name)...)
		}
	}
	all := append(named, made...)
	seen := make(map[server.Cause]bool)
	return slices.DeleteFunc(all, func(c server.Cause) bool {
		c.Resource = ""
		again := seen[c]
		seen[c] = true
		return again
	})
}

// words are what a gateway says about a resource.
type words struct {
	gateway        *model.Gateway
	resource, text string
}

// rules finds the rules and grants that are named.
func (w words) rules() []server.Cause {
	// HOST|RULE|PRINCIPAL, or RULE alone: of the host as much as has no
	// punctuation of a sentence in it.
	named := regexp.MustCompile(`(?:([a-z0-9.*_-]+)\|)?(?:(ns\[[^][|]*\]-policy\[[^][|]*\]-rule\[[0-9]+\])|default-action\|)`)
	var out []server.Cause
	for _, m := range named.FindAllStringSubmatch(w.text, -1) {
		about := ""
		if m[1] != "" {
			about = ", about " + m[1]
		}
		if m[2] == "" {
			if m[1] != "" {
				out = append(out, w.cause(w.own("defaultAction of "), about))
			}
			continue
		}
		id, err := model.ParseRuleID(m[2])
		if err != nil {
			continue
		}
		at := server.Cause{What: "rule " + m[2]}
		if rule, position := w.gateway.FindRule(id); rule != nil {
			at.Position = position
		} else {
			about = ", which the policy in force has no longer"
		}
		out = append(out, w.cause(at, about))
	}
	return out
}

// files finds the files on the gateway that are named.
func (w words) files() []server.Cause {
	var out []server.Cause
	own := w.gateway.Certificates
	for _, f := range []struct{ path, field string }{
		{own.Certificate, "certificates.certificate"}, {own.Key, "certificates.key"}, {own.CA, "certificates.ca"},
		{own.Roots, "certificates.roots"}, {w.gateway.AccessLog, "accessLog"},
	} {
		if namesFile(w.text, f.path) {
			out = append(out, w.cause(w.own("spec."+f.field+" of "), ": "+f.path))
		}
	}
	for _, e := range w.gateway.Entries {
		if o := e.Dial.Originate; o != nil && namesFile(w.text, o.Roots) {
			out = append(out, w.cause(registered(e), ", which trusts "+o.Roots))
		}
	}
	return out
}

// hosts finds the host patterns that are named.
func (w words) hosts() []server.Cause {
	var out []server.Cause
	words := strings.FieldsFunc(w.text, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-_*", r) })
	for _, word := range words {
		p, err := hostname.ParsePattern(strings.Trim(word, "."))
		if err != nil || p.IsAny() {
			continue
		}
		if e := w.gateway.LookupPattern(p); e != nil && !e.RegisteredAt.IsZero() {
			out = append(out, w.cause(registered(e), ""))
		}
	}
	return out
}

// own is the EgressGateway document, or something in it.
func (w words) own(what string) server.Cause {
	return server.Cause{Position: w.gateway.Origin, What: what + "EgressGateway " + w.gateway.Name}
}

func (w words) cause(c server.Cause, more string) server.Cause {
	c.Resource = w.resource
	c.What += more
	return c
}

// registered is where the host of an entry is written.
func registered(e *model.Entry) server.Cause {
	return server.Cause{Position: e.RegisteredAt, What: cmp.Or(e.RegisteredBy, "the document") + ", about " + e.Pattern.String()}
}

// namesFile reports whether a text has a path in it, and not only the beginning of
// a longer one.
func namesFile(text, path string) bool {
	for at := 0; path != "" && at < len(text); {
		i := strings.Index(text[at:], path)
		if i < 0 {
			return false
		}
		rest := strings.TrimLeft(text[at+i+len(path):], ".")
		if rest == "" || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/", rune(rest[0])) {
			return true
		}
		at += i + 1
	}
	return false
}

// sources are the places that a resource was made from, one a file: for a policy
// listener, which has the hosts of one bucket, where those and the rules about
// them are written.
func sources(g *model.Gateway, resource string) []server.Cause {
	w := words{gateway: g, resource: resource}
	made := translate.SourceOf(g, resource)
	if made.Listener != "" {
		return []server.Cause{w.cause(w.own("listener "+made.Listener+" of "), "")}
	}
	if len(made.Entries) == 0 {
		return []server.Cause{w.cause(w.own(""), "")}
	}
	type file struct {
		at    server.Cause
		hosts []string
	}
	files := make(map[string]*file)
	note := func(c server.Cause, host string) {
		if c.Position.File == "" {
			return
		}
		f := files[c.Position.File]
		if f == nil {
			f = &file{at: c}
			files[c.Position.File] = f
		}
		if c.Position.Compare(f.at.Position) < 0 {
			f.at = c
		}
		if !slices.Contains(f.hosts[max(0, len(f.hosts)-1):], host) {
			f.hosts = append(f.hosts, host)
		}
	}
	for _, e := range made.Entries {
		host := e.Pattern.String()
		note(server.Cause{Position: e.RegisteredAt}, host)
		for _, rules := range [][]*model.Rule{e.Rules, e.Overlapping} {
			for _, r := range rules {
				note(server.Cause{Position: r.Origin}, host)
			}
		}
	}
	var out []server.Cause
	for _, f := range files {
		f.at.What = "it is about " + fewOf(f.hosts)
		out = append(out, w.cause(f.at, ""))
	}
	slices.SortFunc(out, func(a, b server.Cause) int { return a.Position.Compare(b.Position) })
	return out
}

// fewOf names the first few of many.
func fewOf(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// explainBy makes the groups what rejections are explained by: before they are
// published, as an answer may be there at once.
func (c *Controller) explainBy(groups map[string]*group) {
	served := make(map[string]*model.Gateway, len(groups))
	for name, g := range groups {
		served[name] = g.gateway
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served = served
}
