package istio_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/istio"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

var update = flag.Bool("update", false, "rewrite what the testdata expects")

// separator stands between the documents of a case and what is expected.
const separator = "\n=====\n"

// egress is the gateway of the cases that have none of their own.
const egress = `---
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: cluster.local, listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]}
`

// registryCase reads the documents of a case. Its name is also the name of the
// file that positions are in.
func registryCase(t *testing.T, text string) *syntax.Documents {
	t.Helper()
	if !strings.Contains(text, "kind: EgressGateway") {
		text += egress
	}
	var d syntax.Decoder
	docs, diags := d.Decode([]source.File{{Path: "case", Data: []byte(text), Digest: sha256.Sum256([]byte(text))}})
	require.False(t, diags.HasErrors(), "%v", diags.Err())
	return docs
}

// show is a registration in a line.
func show(r istio.Registration) string {
	who := "all"
	if r.ExportTo != nil {
		who = "[" + strings.Join(r.ExportTo, " ") + "]"
	}
	to := "itself"
	if r.Dial.Host != "" {
		to = r.Dial.Host
	}
	if len(r.Dial.Addresses) > 0 {
		to = fmt.Sprint(r.Dial.Addresses)
	}
	out := fmt.Sprintf("%s for %s: %s:%d", r.Pattern, who, to, r.Dial.Port)
	if r.Dial.AllowPrivate {
		out += " private too"
	}
	if o := r.Dial.Originate; o != nil {
		out += " originate"
		if o.Roots != "" {
			out += " roots " + o.Roots
		}
		if len(o.SubjectAltNames) > 0 {
			out += " names " + strings.Join(o.SubjectAltNames, " ")
		}
	}
	return fmt.Sprintf("%s (%s, %s)", out, r.By, r.At)
}

// outcome is what a case leads to: for each gateway its registrations, then what
// is wrong.
func outcome(docs *syntax.Documents) string {
	var b strings.Builder
	var diags diag.List
	for _, g := range docs.Gateways {
		if len(docs.Gateways) > 1 {
			fmt.Fprintln(&b, g.Name+":")
		}
		found, wrong := istio.Registry(docs, g)
		for _, r := range found {
			fmt.Fprintln(&b, show(r))
		}
		diags = append(diags, wrong...)
	}
	diags.Sort()
	for _, d := range slices.Compact(diags) {
		fmt.Fprintln(&b, d)
	}
	return b.String()
}

// TestRegistry has a file for each case, with what is expected below the
// documents.
func TestRegistry(t *testing.T) {
	cases, err := filepath.Glob("testdata/registry/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(cases), 30)
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			text, want, found := strings.Cut(string(data), separator)
			docs := registryCase(t, text+"\n")
			got := outcome(docs)
			reverse(docs)
			require.Equal(t, got, outcome(docs), "it depends on the order of the documents")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(text+separator+got), 0o644))
				return
			}
			require.True(t, found, "there is no line =====: go test ./policy/istio -run TestRegistry -update adds what is found")
			require.Equal(t, want, got)
		})
	}
}

// reverse has the documents in another order.
func reverse(docs *syntax.Documents) {
	slices.Reverse(docs.Istio.ServiceEntries)
	slices.Reverse(docs.Istio.Gateways)
	slices.Reverse(docs.Istio.VirtualServices)
	slices.Reverse(docs.Istio.DestinationRules)
	slices.Reverse(docs.Istio.AuthorizationPolicies)
}
