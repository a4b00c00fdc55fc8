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

// Decoder decodes policy files. It remembers the documents of the last Decode,
// so that an edit costs only what was edited: documents whose text and place are
// the same are the same, to the pointer. The zero value is ready to use. It is not
// safe for concurrent use.
type Decoder struct {
	// Namespace is that of Istio's documents that say none themselves, as with
	// kubectl's -n. If it is empty, such documents are errors.
	Namespace string

	language *language
	files    map[string]*known // by path
	taken    *takenNames       // of the documents in files; nil if unknown

	decodes int // for tests: how many files were not remembered
	parts   int // for tests: how many parts of files were decoded
}

// known is a file as it was decoded.
type known struct {
	digest  [sha256.Size]byte
	decoded *decoded
	placed  *placed
}

// decoded is what one file says.
type decoded struct {
	docs Documents
	// kustomization is what the file says if its name is a kustomization's.
	kustomization *kustomization
	diags         diag.List
	// parts are those that the file was decoded by, or, if it was taken as a whole,
	// those of the last time that it was not.
	parts []decodedPart
}

// Decode decodes files, and finds everything that is wrong with any of them.
// The documents are those without errors; they are shared with later calls, so
// they must not be changed.
func (d *Decoder) Decode(files []source.File) (*Documents, diag.List) {
	if d.language == nil {
		d.language = newLanguage()
	}
	taken := d.taken
	d.taken = nil // until they are right again
	sorted := files
	byPath := func(a, b source.File) int { return strings.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(files, byPath) {
		sorted = slices.SortedFunc(slices.Values(files), byPath)
	}
	next := make(map[string]*known, len(files))
	results := make([]*known, len(sorted))
	var diags diag.List
	for i, f := range sorted {
		before := d.files[f.Path]
		k := before
		if k == nil || k.digest != f.Digest {
			d.decodes++
			k = &known{digest: f.Digest, decoded: d.language.decode(f, before, &d.parts)}
		}
		next[f.Path], results[i] = k, k
		diags = append(diags, k.decoded.diags...)
	}
	folders := newFolders(sorted, results)
	folders.namespace = d.Namespace
	diags = append(diags, folders.diags...)
	all := make([]*Documents, len(sorted))
	for i, f := range sorted {
		results[i] = folders.place(f.Path, results[i], d.files[f.Path])
		next[f.Path] = results[i]
		all[i] = &results[i].placed.docs
		diags = append(diags, results[i].placed.diags...)
	}
	d.taken = taken.with(d.files, next)
	d.files = next
	docs, found := d.taken.collect(all)
	diags = append(diags, found...)
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

// decode decodes one file, of which before is known; it may be nil.
func (l *language) decode(f source.File, before *known, parts *int) *decoded {
	var old []decodedPart
	if before != nil {
		old = before.decoded.parts
	}
	if out := l.decodeParts(f, old, parts); out != nil {
		return out
	}
	out := l.decodeWhole(f)
	out.parts = old
	return out
}

// decodeWhole decodes a file as one.
func (l *language) decodeWhole(f source.File) (result *decoded) {
	result = &decoded{}
	r := &reader{meanings: l.meanings}
	defer func() {
		if p := recover(); p != nil {
			// A fault of the YAML library, most likely. The file is refused; the
			// others, and the policy in force, are not touched.
			r.diags.Errorf(diag.Position{File: f.Path}, "yaml-syntax", "this cannot be read: %v", p)
			result = &decoded{diags: r.diags}
		}
		result.diags = shown(result.diags)
	}()
	docs := l.parse(r, f)
	if isKustomization(f.Path) {
		result.kustomization = l.kustomization(r, docs)
		docs = nil
	}
	l.documents(r, docs, &result.docs)
	result.diags = r.diags
	return result
}

// documents decodes documents one by one.
func (l *language) documents(r *reader, docs []*node, into *Documents) {
	for _, n := range docs {
		if n.faulty {
			l.document(r, n, &Documents{}) // look for more errors only
		} else {
			l.document(r, n, into)
		}
	}
}

// shown are the findings of a file as a person gets to see them.
func shown(diags diag.List) diag.List {
	diags = first(diags, maxErrors)
	for i := range diags {
		diags[i].Message = clip(diags[i].Message, maxMessage)
	}
	return diags
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
