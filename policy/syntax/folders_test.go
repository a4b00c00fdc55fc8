package syntax

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/source"
)

// entryNamed is a small ServiceEntry; more is added to its metadata.
func entryNamed(name, more string) string {
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %s%s}\n"+
		"spec: {hosts: [%s.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}\n", name, more, name)
}

func kustomizationOf(namespace string, files ...string) string {
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + strings.Join(files, ", ") + "]\n"
	if namespace != "" {
		text += "namespace: " + namespace + "\n"
	}
	return text
}

// TestNamespaces has the files of a directory and what comes of them: the names
// of the ServiceEntries with their namespaces, and what is wrong.
func TestNamespaces(t *testing.T) {
	const policy = "---\napiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: d%s}\nspec: {hosts: [d.example.com]}\n"
	gateway := "---\napiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: g}\nspec: {trustDomain: td, listeners: [{name: a, port: 1, protocol: TLS}]}\n"
	for _, c := range []struct {
		name  string
		files []source.File
		want  string // names
		wrong string // diagnostics, "" for none
	}{
		{"in the metadata", []source.File{file("a.yaml", entryNamed("a", ", namespace: x"))}, "x/a", ""},
		{
			"in the kustomization",
			[]source.File{file("f/a.yaml", entryNamed("a", "")+entryNamed("b", ", namespace: x")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml"))},
			"x/a x/b", "",
		},
		{
			"in the kustomization of the folder, not of one above or below",
			[]source.File{
				file("a.yaml", entryNamed("a", ", namespace: w")), file("f/b.yaml", entryNamed("b", "")), file("f/g/c.yaml", entryNamed("c", "")),
				file("f/kustomization.yml", kustomizationOf("x", "./b.yaml")), file("f/g/kustomization.yaml", kustomizationOf("z", "c.yaml")),
			},
			"w/a x/b z/c", "",
		},
		{
			"nowhere", []source.File{file("a.yaml", entryNamed("a", ""))}, "",
			"a.yaml:4:18: error: this ServiceEntry says no namespace: kubectl would take it from -n or from its context, which is not written here. " +
				"Write metadata.namespace, or a kustomization.yaml with a namespace in this folder [missing-namespace]\n",
		},
		{
			"in neither", []source.File{file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", kustomizationOf("", "a.yaml"))}, "",
			"f/a.yaml:4:18: error: this ServiceEntry says no namespace: kubectl would take it from -n or from its context, which is not written here. " +
				"Write metadata.namespace, or a kustomization.yaml with a namespace in this folder [missing-namespace]\n",
		},
		{
			"differently in both", []source.File{file("f/a.yaml", entryNamed("a", ", namespace: w")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml"))}, "",
			"f/a.yaml:4:18: error: the kustomization of this folder would put this ServiceEntry into the namespace x, and it says w itself: " +
				"say the same in both, or move the ServiceEntry to another folder [other-namespace]\n",
		},
		{
			"of our own kinds", []source.File{
				file("f/a.yaml", fmt.Sprintf(policy, "")+fmt.Sprintf(policy, ", namespace: w")+fmt.Sprintf(policy, ", namespace: x")+gateway),
				file("f/kustomization.yaml", kustomizationOf("x", "a.yaml")),
			}, "",
			"f/a.yaml:4:18: error: the kustomization of this folder would put this Destination into the namespace x, and it says none itself: " +
				"write that namespace here, or move the Destination to another folder [other-namespace]\n" +
				"f/a.yaml:9:18: error: the kustomization of this folder would put this Destination into the namespace x, and it says w itself: " +
				"write that namespace here, or move the Destination to another folder [other-namespace]\n",
		},
		{
			"the same name in one namespace", []source.File{file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml")), file("z.yaml", entryNamed("a", ", namespace: x"))}, "x/a",
			"z.yaml:4:18: error: another ServiceEntry is named a in the namespace x, at f/a.yaml:4:18: give one of them another name [duplicate-name]\n",
		},
		{
			"files that are not listed, and listed files that are not", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/g/b.yaml", entryNamed("b", ", namespace: x")),
				file("f/kustomization.yaml", kustomizationOf("x", "b.yaml", "g/b.yaml", "https://example.com/x")),
			}, "x/b",
			"f/kustomization.yaml:3:21: error: g/b.yaml is not a file of this folder: a policy directory is read with all its folders anyhow, and each folder may have a kustomization of its own [not-supported]\n" +
				"f/kustomization.yaml:3:31: error: https://example.com/x is not a file of this folder: a policy directory is read with all its folders anyhow, and each folder may have a kustomization of its own [not-supported]\n",
		},
		{
			"an unlisted file", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/b.yaml", entryNamed("b", "")), file("f/kustomization.yaml", kustomizationOf("x", "b.yaml", "c.yaml")),
			}, "x/a x/b",
			"f/kustomization.yaml:1:1: error: a.yaml is in this folder and would be in force, and is not among the resources: list it, or move it to another folder [unlisted-file]\n" +
				"f/kustomization.yaml:3:21: error: there is no policy file c.yaml in this folder [no-such-file]\n",
		},
		{
			"two kustomizations", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml")), file("f/kustomization.yml", kustomizationOf("w", "a.yaml")),
			}, "",
			"f/kustomization.yml: error: there is a kustomization in this folder already, f/kustomization.yaml: remove one of the two [several-kustomizations]\n",
		},
		{
			"a kustomization without apiVersion and kind", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", "namespace: x\nresources: [a.yaml]\n"),
			}, "x/a", "",
		},
		{
			"a kustomization that does more", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml")+"namePrefix: y-\n"),
			}, "",
			"f/kustomization.yaml:5:1: error: a kustomization has no field \"namePrefix\"; allowed here: apiVersion, kind, namespace, resources [unknown-field]\n",
		},
		{
			"several documents", []source.File{
				file("f/a.yaml", entryNamed("a", "")), file("f/kustomization.yaml", kustomizationOf("x", "a.yaml")+"---\n"+kustomizationOf("x", "a.yaml")),
			}, "",
			"f/kustomization.yaml:6:1: error: a kustomization is one document: there is one in this file already, at line 1 [several-documents]\n",
		},
		{
			"a kustomization in another file", []source.File{file("f/a.yaml", kustomizationOf("x", "a.yaml"))}, "",
			"f/a.yaml:1:13: error: a kustomization must be in a file named kustomization.yaml [misplaced-kustomization]\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			docs, diags := d.Decode(c.files)
			var names []string
			for _, e := range docs.Istio.ServiceEntries {
				names = append(names, e.Namespace+"/"+e.Name)
			}
			require.Equal(t, c.wrong, text(diags))
			require.Equal(t, c.want, strings.Join(names, " "))
		})
	}
}

// TestNamespacesOfEveryKind says that no kind of Istio's is forgotten.
func TestNamespacesOfEveryKind(t *testing.T) {
	kinds := map[string]string{
		"ServiceEntry":    "{hosts: [a.example.com]}",
		"Gateway":         "{servers: [{port: {number: 1, name: a, protocol: TLS}, hosts: [a.example.com], tls: {}}]}",
		"VirtualService":  "{hosts: [a.example.com], http: [{route: [{destination: {host: a.example.com}}]}]}",
		"DestinationRule": "{host: a.example.com}",
	}
	for _, k := range newLanguage().istios {
		spec, group := kinds[k.name], networking
		if k.name == "AuthorizationPolicy" {
			spec, group = "{}", "security.istio.io"
		}
		require.NotEmpty(t, spec, k.name)
		doc := func(namespace string) source.File {
			return file("f/a.yaml", fmt.Sprintf("apiVersion: %s/v1\nkind: %s\nmetadata: {name: a%s}\nspec: %s\n", group, k.name, namespace, spec))
		}
		var d Decoder
		_, diags := d.Decode([]source.File{doc("")})
		require.Equal(t, "missing-namespace", diags[0].Code, k.name)
		in := file("f/kustomization.yaml", kustomizationOf("x", "a.yaml"))
		docs, diags := d.Decode([]source.File{doc(""), in})
		require.Empty(t, diags, k.name)
		also, diags := d.Decode([]source.File{doc(", namespace: x"), in})
		require.Empty(t, diags, k.name)
		requireEqual(t, also, docs)
	}
}

// TestKustomizationIsNoPartOfWhatIsRemembered edits a kustomization: only it is
// decoded anew, and what was returned before does not change.
func TestKustomizationIsNoPartOfWhatIsRemembered(t *testing.T) {
	var d Decoder
	a := file("f/a.yaml", entryNamed("a", ""))
	in := func(namespace string) source.File {
		return file("f/kustomization.yaml", kustomizationOf(namespace, "a.yaml"))
	}
	first, diags := d.Decode([]source.File{a, in("x")})
	require.Empty(t, diags)
	require.Equal(t, 2, d.decodes)
	second, diags := d.Decode([]source.File{a, in("w")})
	require.Empty(t, diags)
	require.Equal(t, 3, d.decodes, "only what was edited is decoded")
	require.Equal(t, "x", first.Istio.ServiceEntries[0].Namespace)
	require.Equal(t, "w", second.Istio.ServiceEntries[0].Namespace)
	_, diags = d.Decode([]source.File{a})
	require.True(t, diags.HasErrors(), "without it there is no namespace")
	require.Equal(t, 3, d.decodes)
}

// TestList decodes what kubectl writes for several documents.
func TestList(t *testing.T) {
	docs := decode(t, file("a.yaml", `apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata:
    name: a
    namespace: x
    uid: 0b6c2f0e-2f0e-4c52-9c3c-000000000000
    creationTimestamp: null
    generation: 1
    labels: {app: ""}
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"networking.istio.io/v1"}
  spec: {hosts: [a.example.com]}
  status: {}
- apiVersion: sallyport.dev/v1
  kind: Destination
  metadata: {name: d}
  spec: {hosts: [d.example.com]}
`))
	require.Equal(t, Meta{Name: "a", Namespace: "x", Pos: place(6, 9), NamePos: place(8, 11)}, docs.Istio.ServiceEntries[0].Meta)
	require.Equal(t, []string{"d"}, names(docs))

	docs = decode(t, file("a.json", `{"apiVersion": "v1", "kind": "List", "items": []}`))
	requireEqual(t, &Documents{}, docs)
}

func TestWrongLists(t *testing.T) {
	for content, want := range map[string]string{
		"apiVersion: v1\nkind: List\n":                                        `a.yaml:1:1: error: a List needs the field "items": The documents [missing-field]`,
		"apiVersion: v1\nkind: List\nitems: {}\n":                             `a.yaml:3:8: error: a list of documents was expected here, not a mapping [wrong-type]`,
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]\n": `a.yaml:3:9: error: a List in a List is not supported: put its items beside it [not-supported]`,
		"apiVersion: v1\nkind: List\nitems: [x]\n":                            `a.yaml:3:9: error: a document was expected here, with the fields apiVersion, kind, metadata and spec, not "x" [wrong-type]`,
		"apiVersion: v1\nkind: List\nitem: []\nitems: []\n":                   `a.yaml:3:1: error: a List has no field "item"; did you mean items? (allowed here: apiVersion, kind, metadata, items) [unknown-field]`,
		"apiVersion: v1\nkind: Pod\n":                                         `a.yaml:1:13: error: the apiVersion v1 is not known; allowed here: sallyport.dev/v1 [unknown-version]`,
		"apiVersion: v2\nkind: List\nitems: []\n":                             `a.yaml:1:13: error: the apiVersion v2 is not known; allowed here: sallyport.dev/v1 [unknown-version]`,
	} {
		var d Decoder
		_, diags := d.Decode([]source.File{file("a.yaml", content)})
		require.Equal(t, want+"\n", text(diags))
	}
}
