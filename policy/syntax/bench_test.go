package syntax

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/source"
)

// BenchmarkDecode decodes 1,000 policies of ten hosts, in files of their own
// or in one.
func BenchmarkDecode(b *testing.B) {
	policy := func(i int) string {
		var hosts strings.Builder
		for j := range 10 {
			fmt.Fprintf(&hosts, "      - h%d.example-%d.com\n", j, i)
		}
		return fmt.Sprintf("---\napiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: p%d}\nspec:\n  owner: team\n  rules:\n"+
			"  - action: Allow\n    from: [{principal: spiffe://td/ns/n/sa/s%d}]\n    to:\n    - hosts:\n%s", i, i, hosts.String())
	}
	var apart []source.File
	var together strings.Builder
	for i := range 1000 {
		apart = append(apart, file(fmt.Sprintf("p%d.yaml", i), policy(i)))
		together.WriteString(policy(i))
	}
	run := func(name string, files []source.File, before func(*Decoder)) {
		b.Run(name, func(b *testing.B) {
			var d Decoder
			d.Decode(files)
			for b.Loop() {
				before(&d)
				docs, diags := d.Decode(files)
				require.Empty(b, diags)
				require.Len(b, docs.Policies, 1000)
			}
		})
	}
	run("apart", apart, func(d *Decoder) { d.files, d.taken = nil, nil })
	run("together", []source.File{file("all.yaml", together.String())}, func(d *Decoder) { d.files, d.taken = nil, nil })
	run("one changed", apart, func(d *Decoder) { delete(d.files, apart[0].Path); d.taken = nil })
}
