package migrate

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/pkg/diag"
	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// output is what is to be written.
type output struct {
	destinations []*nativeDestination
	policies     []nativePolicy
	kept         []kept
	carried      []document
}

// kept is a document that stays as it was.
type kept struct {
	meta syntax.Meta
	why  string
}

// The files of what was not made here.
const (
	keptFile    = "istio"
	carriedFile = "unchanged"
)

func cannotFormat(d diag.Diagnostic) bool { return d.Code == "cannot-format" }

func tooLarge(d diag.Diagnostic) bool { return d.Code == "too-large" }

// print writes the files, laid out as `fmt` does.
func (m *migration) print() ([]source.File, diag.List) {
	gateway, diags := m.gatewayText()
	if diags.HasErrors() {
		return nil, diags
	}
	var destinations, policies, istio, carried []string
	for _, d := range m.out.destinations {
		destinations = append(destinations, d.yaml())
	}
	for _, p := range m.out.policies {
		policies = append(policies, p.yaml())
	}
	for _, k := range m.out.kept {
		text, err := m.keptText(k)
		if err != nil {
			diags.Errorf(k.meta.Pos, "cannot-keep", "this document cannot be written again: %v", err)
			continue
		}
		istio = append(istio, text)
	}
	for _, d := range m.out.carried {
		text, err := d.original()
		if err != nil {
			diags.Errorf(d.pos, "cannot-keep", "this document cannot be written again: %v", err)
			continue
		}
		carried = append(carried, text)
	}
	var out []source.File
	var w writer
	for _, f := range []struct {
		name string
		docs []string
	}{
		{"gateway", []string{gateway}}, {"destinations", destinations}, {"policies", policies},
		{keptFile, istio}, {carriedFile, carried},
	} {
		if len(f.docs) == 0 {
			continue
		}
		texts, found := w.write(f.name+".yaml", f.docs, f.name == keptFile || f.name == carriedFile)
		diags = append(diags, found...)
		for i, text := range texts {
			name := f.name
			if i > 0 {
				name += "-" + strconv.Itoa(i+1)
			}
			out = append(out, file(name+".yaml", text))
		}
	}
	return out, diags
}

// writer lays out files.
type writer struct{ formatter layout.Formatter }

// maxFile is how many bytes a file may have to be read again.
const maxFile = 4 << 20

// write lays out documents, as few files as they fit in. What was not made here
// may stay as somebody wrote it.
func (w *writer) write(name string, docs []string, asIs bool) ([]string, diag.List) {
	whole := file(name, strings.Join(docs, "---\n"))
	if len(whole.Data) <= maxFile || len(docs) == 1 {
		text, found := w.formatter.Format(whole)
		if asIs && slices.ContainsFunc(found, cannotFormat) {
			text, found = whole.Data, nil
		}
		if len(docs) == 1 || len(text) <= maxFile && !slices.ContainsFunc(found, tooLarge) {
			return []string{string(text)}, found
		}
	}
	half := len(docs) / 2
	first, found := w.write(name, docs[:half], asIs)
	rest, more := w.write(name, docs[half:], asIs)
	return append(first, rest...), append(found, more...)
}

// gatewayText is the EgressGateway: as it was, but that its defaultAction is Deny
// if an ALLOW policy applied, which has the same meaning.
func (m *migration) gatewayText() (string, diag.List) {
	action := m.gateway.DefaultAction
	if m.closed {
		action = model.Deny
	}
	if m.synthetic {
		return m.options.Gateway.yaml(action), nil
	}
	var diags diag.List
	d, ok := m.in.find(m.gateway.Pos)
	if !ok {
		diags.Errorf(m.gateway.Pos, "cannot-keep", "this document cannot be found again")
		return "", diags
	}
	if action != m.gateway.DefaultAction {
		setDefaultAction(field(d.node, "spec"), action)
		d.text = nil
	}
	text, err := d.original()
	if err != nil {
		diags.Errorf(m.gateway.Pos, "cannot-keep", "this document cannot be written again: %v", err)
	}
	return text, diags
}

func setDefaultAction(spec *yaml.Node, action model.Verdict) {
	const name, why = "defaultAction", "# Set by `sallyport import`: an ALLOW policy applied, so that what none allows was refused."
	for i := 0; i+1 < len(spec.Content); i += 2 {
		if spec.Content[i].Value == name {
			spec.Content[i].HeadComment, spec.Content[i+1].LineComment = why, ""
			spec.Content[i+1].SetString(action.String())
			return
		}
	}
	key, value := &yaml.Node{}, &yaml.Node{}
	key.SetString(name)
	value.SetString(action.String())
	key.HeadComment = why
	spec.Content = append(spec.Content, key, value)
}

// original is the document as it was written.
func (d document) original() (string, error) {
	if d.text == nil {
		return encode(d.node)
	}
	text := strings.ReplaceAll(strings.TrimPrefix(string(d.text), "\ufeff"), "\r\n", "\n")
	if rest, ok := strings.CutPrefix(text, "---"); ok {
		text = strings.TrimPrefix(rest, "\n")
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, nil
}

// keptText is one of Istio's documents, with its namespace.
func (m *migration) keptText(k kept) (string, error) {
	d, ok := m.in.find(k.meta.Pos)
	if !ok {
		return "", errors.New("it cannot be found again")
	}
	metadata := field(d.node, "metadata")
	if d.namespace == "" {
		key, value := &yaml.Node{}, &yaml.Node{}
		key.SetString("namespace")
		value.SetString(k.meta.Namespace)
		metadata.Content = append(metadata.Content, key, value)
		d.text = nil
	}
	text, err := d.original()
	return layout.Remark("Kept as it was, "+k.meta.Pos.String()+": "+k.why) + text, err
}

func encode(n *yaml.Node) (string, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		return "", err
	}
	return strings.TrimPrefix(b.String(), "---\n"), e.Close()
}
