package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy/diff"
)

// tenThousand writes a policy for 10,000 hosts, a policy of its own for every so
// many of them, in a hundred files. A few of the hosts are for somebody else if
// it is edited.
func tenThousand(b *testing.B, hostsPerPolicy int, edited bool) string {
	b.Helper()
	dir := b.TempDir()
	write := func(name, text string) {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("gateway.yaml", "apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: egress}\nspec:\n"+
		"  trustDomain: cluster.local\n  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]\n")
	for file := range 100 {
		var text strings.Builder
		for policy := range 100 / hostsPerPolicy {
			account := "batch"
			if edited && policy == 0 && file < 5 {
				account = "other"
			}
			fmt.Fprintf(&text, "---\napiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: policy-%d-%d, namespace: default}\nspec:\n"+
				"  owner: team-%d@example.com\n  rules:\n  - action: Allow\n    from: [{serviceAccount: %s}]\n    to:\n    - hosts:\n", file, policy, file, account)
			for host := range hostsPerPolicy {
				fmt.Fprintf(&text, "      - api-%d.partner-%d-%d.example.com\n", host, policy, file)
			}
		}
		write(fmt.Sprintf("team-%03d.yaml", file), text.String())
	}
	return dir
}

// BenchmarkDiffCommand runs `sallyport diff` on two directories of 10,000 hosts
// that differ a little, and its two halves apart.
func BenchmarkDiffCommand(b *testing.B) {
	for _, hostsPerPolicy := range []int{1, 10} {
		before, after := tenThousand(b, hostsPerPolicy, false), tenThousand(b, hostsPerPolicy, true)
		now := time.Now()
		x, y, err := loadTwo(b.Context(), snapshot{before, now}, snapshot{after, now})
		require.NoError(b, err)
		run := func(what string, do func()) {
			b.Run(fmt.Sprintf("policies=%d/%s", 10_000/hostsPerPolicy, what), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					do()
				}
			})
		}
		run("load", func() {
			_, _, err := loadTwo(b.Context(), snapshot{before, now}, snapshot{after, now})
			require.NoError(b, err)
		})
		run("compare", func() { require.True(b, diff.Compare(x, y, diff.Options{}).Widened()) })
		run("command", func() {
			root := newRoot()
			root.SetOut(io.Discard)
			require.Equal(b, exitWidened, execute(b.Context(), root, []string{"diff", before, after}))
		})
	}
}
