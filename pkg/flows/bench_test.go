package flows

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkFlow is the whole way of a line: read, attributed, written.
func BenchmarkFlow(b *testing.B) {
	g, lines := gateway(b, testPolicy()), logLines(b)
	var out []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		line := lines[i%len(lines)]
		r, err := Parse(line)
		require.NoError(b, err)
		out, err = Attribute(r, g).MarshalJSON()
		require.NoError(b, err)
		b.SetBytes(int64(len(line)))
	}
	_ = out
}

func BenchmarkParse(b *testing.B) {
	lines := logLines(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, err := Parse(lines[i%len(lines)])
		require.NoError(b, err)
	}
}

func BenchmarkAttribute(b *testing.B) {
	g, lines := gateway(b, testPolicy()), logLines(b)
	records := make([]EnvoyRecord, len(lines))
	for i, line := range lines {
		r, err := Parse(line)
		require.NoError(b, err)
		records[i] = r
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		Attribute(records[i%len(records)], g)
	}
}
