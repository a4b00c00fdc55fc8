package syntax

import (
	"cmp"
	"path"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// folders knows what the kustomizations say about the folders of a directory.
type folders struct {
	// namespace is that of documents that nothing else gives one; it may be
	// empty.
	namespace string
	byPath    map[string]*folder
	diags     diag.List
}

// folder is what is known of one folder with a kustomization.
type folder struct {
	// kustomization is nil if it has errors: then nobody knows the namespace.
	kustomization *kustomization
	// file is the kustomization's.
	file string
	// files are the other files of the folder.
	files []string
}

// newFolders looks at the files, which are sorted, and at what was decoded of
// them.
func newFolders(files []source.File, results []*known) *folders {
	out := &folders{byPath: make(map[string]*folder)}
	for i, f := range files {
		if !isKustomization(f.Path) {
			continue
		}
		dir := path.Dir(f.Path)
		if first := out.byPath[dir]; first != nil {
			out.diags.Errorf(diag.Position{File: f.Path}, "several-kustomizations",
				"there is a kustomization in this folder already, %s: remove one of the two", first.file)
			first.kustomization = nil
			continue
		}
		out.byPath[dir] = &folder{kustomization: results[i].decoded.kustomization, file: f.Path}
	}
	if len(out.byPath) == 0 {
		return out
	}
	for _, f := range files {
		if in := out.of(f.Path); in != nil && !isKustomization(f.Path) {
			in.files = append(in.files, f.Path)
		}
	}
	for _, f := range files {
		if in := out.of(f.Path); in != nil && in.file == f.Path && in.kustomization != nil {
			out.checkResources(path.Dir(f.Path), in)
		}
	}
	return out
}

// of returns the folder that a file is in, if it has a kustomization.
func (f *folders) of(file string) *folder {
	if len(f.byPath) == 0 {
		return nil
	}
	return f.byPath[path.Dir(file)]
}

// checkResources refuses a kustomization that is not about just the files that
// are read: what kustomize would deploy is not what would be in force here.
func (f *folders) checkResources(dir string, in *folder) {
	listed := make(map[string]bool)
	for _, r := range in.kustomization.resources {
		file := path.Join(dir, r.Value)
		listed[file] = true
		if !slices.Contains(in.files, file) {
			f.diags.Errorf(r.Pos, "no-such-file", "there is no policy file %s in this folder", r.Value)
		}
	}
	for _, file := range in.files {
		if !listed[file] {
			f.diags.Errorf(in.kustomization.pos, "unlisted-file", "%s is in this folder and would be in force, and is not among the resources: "+
				"list it, or move it to another folder", path.Base(file))
		}
	}
}

// native checks that one of our own documents says its namespace itself, as
// kustomize would see it.
func (p *placer) native(kind string, m *Meta) {
	if namespace := p.in.namespace; namespace != "" && m.Namespace != namespace {
		p.diags.Errorf(m.NamePos, "other-namespace", "the kustomization of this folder would put this %s into the namespace %s, and %s: "+
			"write that namespace here, or move the %s to another folder", kind, namespace, said(m), kind)
	}
}

// istio returns the namespace of one of Istio's documents.
func (p *placer) istio(kind string, m *Meta) (namespace string, ok bool) {
	if p.in.kustomized && !p.in.known {
		return m.Namespace, m.Namespace != "" // what is wrong has been said
	}
	namespace = p.in.namespace
	switch {
	case namespace != "" && m.Namespace != "" && m.Namespace != namespace:
		p.diags.Errorf(m.NamePos, "other-namespace", "the kustomization of this folder would put this %s into the namespace %s, and %s: "+
			"say the same in both, or move the %s to another folder", kind, namespace, said(m), kind)
		return "", false
	case namespace == "" && m.Namespace == "" && p.in.otherwise == "":
		p.diags.Errorf(m.NamePos, "missing-namespace", "this %s says no namespace: kubectl would take it from -n or from its context, which is not written here. "+
			"Write metadata.namespace, or a kustomization.yaml with a namespace in this folder", kind)
		return "", false
	}
	return cmp.Or(m.Namespace, namespace, p.in.otherwise), true
}

// said is what a document says of its namespace.
func said(m *Meta) string {
	if m.Namespace == "" {
		return "it says none itself"
	}
	return "it says " + m.Namespace + " itself"
}
