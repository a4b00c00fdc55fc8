package migrate

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/pkg/diag"
	"sallyport/policy/syntax"
)

const kindPolicy = "AuthorizationPolicy"

func networkingKinds() []string {
	return []string{"ServiceEntry", "Gateway", "VirtualService", "DestinationRule"}
}

func nativeKinds() []string {
	return []string{"EgressPolicy", "Destination", "EgressGateway", "PolicyTest", "Delegation"}
}

// The API groups of what is read.
const (
	groupSecurity   = "security.istio.io"
	groupNetworking = "networking.istio.io"
	groupKustomize  = "kustomize.config.k8s.io"
)

func groupNative() string { return strings.Split(syntax.APIVersion, "/")[0] }

// standing is what is to be done with a document.
type standing int

const (
	// unclear is what nobody knows the meaning of: it may be a policy with a
	// mistake in its first two lines, and is never left out quietly.
	unclear standing = iota
	// ours is for the policy language to read, or to refuse.
	ours
	// foreign says nothing about who may reach what, or is another system's.
	foreign
)

// judge says what is to be done with a document, and of an unclear one what is
// wrong with it.
func (d document) judge() (s standing, pos diag.Position, problem string) {
	group := groupOf(d.kind)
	switch {
	case d.kind == "", d.isNative(), d.isIstio(), d.group == groupKustomize:
		return ours, d.pos, ""
	case d.kind == "List" && d.version == "v1":
		return ours, d.pos, ""
	case d.kind == "List":
		return unclear, d.versionPos, fmt.Sprintf("a List has the apiVersion v1, not %s: correct it", d.shownVersion())
	case d.explained() != nil:
		return foreign, d.pos, ""
	case d.version == "" && group != "":
		return unclear, d.pos, fmt.Sprintf("this %s has no apiVersion: write one of %s", d.kind, group)
	case group != "":
		return unclear, d.versionPos, fmt.Sprintf("%s is a kind of %s, not of %s: correct the apiVersion, or take this document out of the files if it is another system's",
			d.kind, group, d.shownVersion())
	case d.version == "":
		return unclear, d.pos, fmt.Sprintf("this %s has no apiVersion, so that nobody can tell what it is: write it, or take this document out of the files", d.kind)
	case strings.HasSuffix(d.group, ".istio.io"):
		return unclear, d.pos, fmt.Sprintf("%s is no kind of %s that is known here%s it, or take this document out of the files if it says nothing about who may reach what",
			d.kind, d.group, correct(d.kind))
	case likeOurs(d.group):
		return unclear, d.versionPos, fmt.Sprintf("the apiVersion %s is not known, and is much like one that is: correct it, or take this document out of the files if it is another system's", d.shownVersion())
	case meant(d.kind) != "":
		return unclear, d.pos, fmt.Sprintf("the kind %s is not known%s it and the apiVersion, or take this document out of the files if it is another system's", d.kind, correct(d.kind))
	case !isGroup(d.group):
		return unclear, d.versionPos, fmt.Sprintf("the apiVersion %s is not known: correct it, or take this document out of the files if it is another system's", d.shownVersion())
	}
	return foreign, d.pos, ""
}

func (d document) isNative() bool { return d.group == groupNative() }

func (d document) isIstio() bool {
	return d.group != groupNative() && d.group != "" && d.group == groupOf(d.kind)
}

func (d document) shownVersion() string {
	if d.version == "" {
		return "none"
	}
	return fmt.Sprintf("%q", d.version)
}

// groupOf is the API group of a kind that is read, or empty.
func groupOf(kind string) string {
	switch {
	case kind == kindPolicy:
		return groupSecurity
	case slices.Contains(networkingKinds(), kind):
		return groupNetworking
	case slices.Contains(nativeKinds(), kind):
		return groupNative()
	}
	return ""
}

// correct says to correct a kind, and which one was perhaps meant.
func correct(kind string) string {
	if k := meant(kind); k != "" {
		return "; did you mean " + k + "? Correct"
	}
	return ": correct"
}

// meant is the kind that was perhaps meant, or empty.
func meant(kind string) string {
	for _, k := range slices.Concat([]string{kindPolicy}, networkingKinds(), nativeKinds()) {
		if syntax.EditDistance(strings.ToLower(shortened(kind)), strings.ToLower(k)) <= 1 {
			return k
		}
	}
	return ""
}

// likeOurs reports whether a group is perhaps one of those that are read, with a
// slip of the pen.
func likeOurs(group string) bool {
	group = strings.ToLower(shortened(group))
	return strings.Contains(group, "istio") || strings.Contains(group, "sallyport") ||
		slices.ContainsFunc([]string{groupSecurity, groupNetworking, groupNative()}, func(g string) bool { return syntax.EditDistance(group, g) <= 2 })
}

// shortened keeps what anybody may write from taking long to compare.
func shortened(s string) string { return s[:min(len(s), 100)] }

// isGroup reports whether the API group can be somebody's: all have a dot, but
// Kubernetes' first ones.
func isGroup(group string) bool {
	return strings.Contains(group, ".") || slices.Contains([]string{"v1", "apps", "autoscaling", "batch", "extensions", "policy"}, group)
}

// about is what a document says of itself.
type about struct{ version, group, kind, namespace, name string }

func aboutOf(n *yaml.Node) about {
	metadata := field(n, "metadata")
	out := about{
		version: scalar(field(n, "apiVersion")), kind: scalar(field(n, "kind")),
		namespace: scalar(field(metadata, "namespace")), name: scalar(field(metadata, "name")),
	}
	if repeats(n, "apiVersion") || repeats(n, "kind") {
		out.kind = "" // for the policy language to refuse
	}
	out.group, _, _ = strings.Cut(out.version, "/")
	return out
}

// scalar is the text of a node that is one; not of an alias, say.
func scalar(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// field returns the value of a field, or an empty node.
func field(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// repeats reports whether a mapping has a field more than once.
func repeats(n *yaml.Node, name string) bool {
	found := 0
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			found++
		}
	}
	return found > 1
}
