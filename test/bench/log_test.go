package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
)

// BenchmarkLog measures what a connection's records cost the gateway: none but to its
// file, with a record at its end to the control plane, with one when it opens too, and
// that without the file.
func BenchmarkLog(b *testing.B) {
	allowManyFiles(b, 8_192)
	g := newConnectionRig(b, func(*demo.Options) {})
	gateway := &contender{name: "TLS entry", address: g.stack.TLS, usage: func() envoy.Usage {
		u, err := g.stack.Gateway.Usage()
		require.NoError(b, err)
		return u
	}}
	ways := []struct{ name, log string }{
		{"file", "{stream: None}"},
		{"file and ends", "{stream: Ends}"},
		{"file, open and ends", "{stream: All}"},
		{"open and ends", `{path: "", stream: All}`},
	}
	found := make([][]float64, len(ways))
	for range rounds {
		for i, way := range ways {
			require.NoError(b, g.stack.Write("gateway.yaml", g.stack.GatewayDocument()+"  accessLog: "+way.log+"\n"))
			time.Sleep(2 * time.Second) // until the old listeners have drained
			g.connect(b, gateway, 50)
			before := gateway.usage().CPU
			g.connect(b, gateway, perTurn)
			time.Sleep(500 * time.Millisecond) // until what is left has been sent
			found[i] = append(found[i], float64((gateway.usage().CPU-before).Microseconds())/perTurn)
		}
	}
	t := newTable("log", "CPU µs/connection", "lowest", "highest")
	for i, way := range ways {
		t.row(way.name, median(found[i]), slices.Min(found[i]), slices.Max(found[i]))
		b.Run(way.name, func(b *testing.B) { report(b, "cpu-µs/conn", median(found[i])) })
	}
	t.print("%d rounds of %d connections through the TLS entry, %d at once; medians of the rounds", rounds, perTurn, atOnce)
}
