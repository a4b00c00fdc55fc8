package syntax

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// maxErrors is how many errors of one file are shown. Whoever fixes them finds
// the rest.
const maxErrors = 200

// maxMessage is how many bytes of a message are shown: it may quote the file.
const maxMessage = 1000

// Decoder decodes policy files. It remembers the files of the last Decode, so
// that an edit costs only what was edited. The zero value is ready to use. It
// is not safe for concurrent use.
type Decoder struct {
	// Namespace is that of Istio's documents that say none themselves, as with
	// kubectl's -n. If it is empty, such documents are errors.
	Namespace string

	language *language
	files    map[fileKey]decoded

	decodes int // for tests: how many files were not remembered
}

type fileKey struct {
	path   string
	digest [sha256.Size]byte
}

// decoded is what one file says.
type decoded struct {
	docs Documents
	// kustomization is what the file says if its name is a kustomization's.
	kustomization *kustomization
	diags         diag.List
}

// Decode decodes files, and finds everything that is wrong with any of them.
// The documents are those without errors; they are shared with later calls, so
// they must not be changed.
func (d *Decoder) Decode(files []source.File) (*Documents, diag.List) {
	if d.language == nil {
		d.language = newLanguage()
	}
	next := make(map[fileKey]decoded, len(files))
	docs, diags := &Documents{}, diag.List(nil)
	sorted := slices.SortedFunc(slices.Values(files), func(a, b source.File) int { return strings.Compare(a.Path, b.Path) })
	results := make([]decoded, len(sorted))
	for i, f := range sorted {
		key := fileKey{f.Path, f.Digest}
		result, ok := d.files[key]
		if !ok {
			d.decodes++
			result = d.language.decode(f)
		}
		next[key], results[i] = result, result
		diags = append(diags, result.diags...)
	}
	c := &collector{places: newFolders(sorted, results), names: make(map[string]*Meta)}
	c.places.namespace = d.Namespace
	for _, result := range results {
		c.add(docs, result.docs)
	}
	d.files = next
	diags = append(append(diags, c.places.diags...), c.diags...)
	diags.Sort()
	return docs, diags
}

// language is what the decoder knows: its tables.
type language struct {
	meanings meanings
	kinds    []documentKind
	istios   []documentKind
	// customizes is the table of kustomizations.
	customizes object[kustomization]
}

// documentKind is one kind of document.
type documentKind struct {
	// group is Istio's API group, empty for our own kinds.
	group  string
	name   string
	schema func() jsonSchema
	// read decodes a document and adds it to what was decoded.
	read func(r *reader, n *node, into *Documents)
}

func newLanguage() *language {
	return &language{
		meanings:   newMeanings(),
		customizes: kustomizationTable(),
		kinds: []documentKind{
			newKind("EgressPolicy", egressPolicy(), func(docs *Documents, p *EgressPolicy) { docs.Policies = append(docs.Policies, p) }),
			newKind("Destination", destination(), func(docs *Documents, d *Destination) { docs.Destinations = append(docs.Destinations, d) }),
			newKind("EgressGateway", egressGateway(), func(docs *Documents, g *EgressGateway) { docs.Gateways = append(docs.Gateways, g) }),
			newKind("PolicyTest", policyTest(), func(docs *Documents, t *PolicyTest) { docs.Tests = append(docs.Tests, t) }),
			newKind("Delegation", delegation(), func(docs *Documents, d *Delegation) { docs.Delegations = append(docs.Delegations, d) }),
		},
		istios: []documentKind{
			newKind("AuthorizationPolicy", authorizationPolicy(), func(docs *Documents, p *AuthorizationPolicy) {
				docs.Istio.AuthorizationPolicies = append(docs.Istio.AuthorizationPolicies, p)
			}).in("security.istio.io"),
			newKind("ServiceEntry", serviceEntry(), func(docs *Documents, e *ServiceEntry) {
				docs.Istio.ServiceEntries = append(docs.Istio.ServiceEntries, e)
			}).in(networking),
			newKind("Gateway", istioGateway(), func(docs *Documents, g *IstioGateway) {
				docs.Istio.Gateways = append(docs.Istio.Gateways, g)
			}).in(networking),
			newKind("VirtualService", virtualService(), func(docs *Documents, v *VirtualService) {
				docs.Istio.VirtualServices = append(docs.Istio.VirtualServices, v)
			}).in(networking),
			newKind("DestinationRule", destinationRule(), func(docs *Documents, d *DestinationRule) {
				docs.Istio.DestinationRules = append(docs.Istio.DestinationRules, d)
			}).in(networking),
		},
	}
}

func newKind[T any](name string, o object[T], add func(*Documents, *T)) documentKind {
	return documentKind{name: name, schema: o.schema, read: func(r *reader, n *node, into *Documents) {
		if v, ok := o.read(r, n); ok {
			add(into, &v)
		}
	}}
}

func (k documentKind) in(group string) documentKind {
	k.group = group
	return k
}

// istio decodes one of Istio's documents.
func (l *language) istio(r *reader, n *node, group string, into *Documents) {
	name := n.get("kind")
	i := slices.IndexFunc(l.istios, func(k documentKind) bool { return k.group == group && k.name == name.value })
	if i < 0 {
		var known []string
		for _, k := range l.istios {
			known = append(known, k.group+"'s "+k.name)
		}
		r.errorf(name, "unknown-kind", "%s's kind %s says nothing that a gateway for egress can honour; of Istio's kinds there are %s",
			group, name.show(), strings.Join(known, ", "))
		return
	}
	l.istios[i].read(r, n, into)
}

func (l *language) kindNames() []string {
	var names []string
	for _, k := range l.kinds {
		names = append(names, k.name)
	}
	return names
}

// decode decodes one file.
func (l *language) decode(f source.File) (result decoded) {
	r := &reader{meanings: l.meanings}
	defer func() {
		if p := recover(); p != nil {
			// A fault of the YAML library, most likely. The file is refused; the
			// others, and the policy in force, are not touched.
			r.diags.Errorf(diag.Position{File: f.Path}, "yaml-syntax", "this cannot be read: %v", p)
			result = decoded{diags: r.diags}
		}
		result.diags = first(result.diags, maxErrors)
		for i := range result.diags {
			result.diags[i].Message = clip(result.diags[i].Message, maxMessage)
		}
	}()
	docs := l.parse(r, f)
	if isKustomization(f.Path) {
		result.kustomization = l.kustomization(r, docs)
		docs = nil
	}
	for _, n := range docs {
		into := &result.docs
		if n.faulty {
			into = &Documents{} // look for more errors only
		}
		l.document(r, n, into)
	}
	result.diags = r.diags
	return result
}

// parse reads the text of a file.
func (l *language) parse(r *reader, f source.File) []*node {
	r.diags = append(r.diags, checkText(f.Path, f.Data)...)
	if r.diags.HasErrors() {
		return nil
	}
	parse := parseYAML
	if path.Ext(f.Path) == ".json" {
		parse = parseJSON
	}
	docs, diags := parse(f.Path, f.Data)
	r.diags = append(r.diags, diags...)
	return docs
}

// document decodes one document by its kind.
func (l *language) document(r *reader, n *node, into *Documents) {
	if n.kind == scalar && r.meanings.of(n) == meansNull {
		return // an empty document
	}
	if n.kind != mapping {
		r.errorf(n, "wrong-type", "a document was expected here, with the fields apiVersion, kind, metadata and spec, not %s", r.describe(n))
		return
	}
	version, name := n.get("apiVersion"), n.get("kind")
	group, _, _ := strings.Cut(version.value, "/")
	if n.has("kind") && name.value == "List" && version.value == "v1" {
		l.list(r, n, into)
		return
	}
	i := slices.IndexFunc(l.kinds, func(k documentKind) bool { return k.name == name.value })
	switch {
	case group == kustomizationGroup:
		r.errorf(version, "misplaced-kustomization", "a kustomization must be in a file named kustomization.yaml")
	case strings.HasSuffix(group, ".istio.io"):
		l.istio(r, n, group, into)
	case n.has("apiVersion") && version.value != APIVersion:
		r.errorf(version, "unknown-version", "the apiVersion %s is not known; %s", version.show(), suggest(version.value, []string{APIVersion}))
	case !n.has("kind"):
		r.errorf(n, "missing-field", "a document needs the field \"kind\": one of %s", strings.Join(l.kindNames(), ", "))
	case i < 0:
		r.errorf(name, "unknown-kind", "the kind %s is not known; %s", name.show(), suggest(name.value, l.kindNames()))
	default:
		l.kinds[i].read(r, n, into)
	}
}

// first keeps a list readable. Errors come before warnings.
func first(diags diag.List, most int) diag.List {
	if len(diags) <= most {
		return diags
	}
	diags.Sort()
	slices.SortStableFunc(diags, func(a, b diag.Diagnostic) int { return cmp.Compare(a.Severity, b.Severity) })
	rest := diags[most:]
	diags = slices.Clone(diags[:most])
	severity := diag.Warning
	if rest.HasErrors() {
		severity = diag.Error
	}
	return append(diags, diag.Diagnostic{Pos: rest[0].Pos, Severity: severity, Code: "too-many",
		Message: fmt.Sprintf("from here on there is more of this in this file: %d in all", len(rest))})
}

// clip shortens a text.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + " …"
}
