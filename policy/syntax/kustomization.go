package syntax

import (
	"path"
	"slices"
	"strings"

	"sallyport/pkg/diag"
)

// kustomization is what a kustomization.yaml says about the folder it is in:
// the namespace that `kubectl apply -k` would put the documents into. See
// https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
type kustomization struct {
	pos       diag.Position
	namespace string
	resources []Text
}

// The apiVersion of a kustomization.
const (
	kustomizationGroup   = "kustomize.config.k8s.io"
	kustomizationVersion = kustomizationGroup + "/v1beta1"
)

// isKustomization reports whether a file of this path is one that kustomize
// looks for.
func isKustomization(file string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, path.Base(file))
}

// kustomizationTable is the table of a kustomization. apiVersion and kind may be
// left out, as kustomize allows.
func kustomizationTable() object[kustomization] {
	return object[kustomization]{
		what: "a kustomization",
		fields: []field[kustomization]{
			bind("apiVersion", "The version of the kind.", constant("apiVersion", kustomizationVersion), func(*kustomization, string, *node) {}),
			bind("kind", "What this document describes.", constant("kind", "Kustomization"), func(*kustomization, string, *node) {}),
			bind("namespace", "The namespace of the documents in this folder.", namespaceName(),
				func(k *kustomization, s string, _ *node) { k.namespace = s }),
			bind("resources", "The files of this folder.",
				listOf[Text]{element: resource(), least: 1, same: func(t Text) string { return t.Value }, twice: diag.Error}.value(),
				func(k *kustomization, files []Text, _ *node) { k.resources = files }).must(),
		},
		check: func(_ *reader, n *node, k *kustomization) bool {
			k.pos = n.pos
			return true
		},
	}
}

// resource is the name of a file beside the kustomization.
func resource() value[Text] {
	text := plainText("the name of a file")
	return value[Text]{what: text.what, schema: text.schema, read: func(r *reader, n *node) (Text, bool) {
		t, ok := text.read(r, n)
		if !ok {
			return t, false
		}
		name := path.Clean(t.Value)
		if strings.Contains(name, "/") || name == "." || name == ".." {
			r.errorf(n, "not-supported", "%s is not a file of this folder: a policy directory is read with all its folders anyhow, "+
				"and each folder may have a kustomization of its own", t.Value)
			return t, false
		}
		t.Value = name
		return t, true
	}}
}

// kustomization decodes a file that is named as one; nil if it is not right.
func (l *language) kustomization(r *reader, docs []*node) *kustomization {
	if r.diags.HasErrors() {
		return nil
	}
	var out *kustomization
	for _, n := range docs {
		if n.kind == scalar && r.meanings.of(n) == meansNull {
			continue
		}
		if out != nil {
			r.errorf(n, "several-documents", "a kustomization is one document: there is one in this file already, at line %d", out.pos.Line)
			return nil
		}
		k, ok := l.customizes.read(r, n)
		if !ok {
			return nil
		}
		out = &k
	}
	return out
}
