package source

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkReader reads 5,000 files of which none, or one, has changed.
func BenchmarkReader(b *testing.B) {
	dir := b.TempDir()
	for i := range 5000 {
		write(b, filepath.Join(dir, fmt.Sprintf("team-%d/policy-%d.yaml", i%50, i)), fmt.Sprintf("host: h%d.example.com\n", i))
	}
	later := func() time.Time { return time.Now().Add(time.Hour) }
	for _, c := range []struct {
		name   string
		before func(r *Reader)
	}{
		{"everything", func(r *Reader) { r.cache = nil }},
		{"nothing", func(*Reader) {}},
		{"one", func(r *Reader) { write(b, filepath.Join(dir, "team-0/policy-0.yaml"), "changed") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := Reader{now: later}
			r.Read(dir)
			for b.Loop() {
				c.before(&r)
				tree, diags := r.Read(dir)
				require.Empty(b, diags)
				require.Len(b, tree.Files, 5000)
			}
		})
	}
}
