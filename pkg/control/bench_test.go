package control_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/policy/source"
	"sallyport/xds/server"
)

// BenchmarkEdit is what the control plane does of an edit, from a file that was
// replaced to the publication: all of it but the gateways. One policy is given to
// another workload; a policy has a host, and a file about 67.
func BenchmarkEdit(b *testing.B) {
	for _, hosts := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			dir := b.TempDir()
			const files = 150
			write := func(file, account int) {
				var text strings.Builder
				for host := file; host < hosts; host += files {
					fmt.Fprintf(&text, `---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: p%d, namespace: ns}
spec:
  owner: team@example.com
  rules:
  - {action: Allow, from: [{serviceAccount: a%d}], to: [{hosts: [h%d.example.org]}]}
`, host, account, host)
					account = 0
				}
				temporary := filepath.Join(dir, ".new")
				require.NoError(b, os.WriteFile(temporary, []byte(text.String()), 0o600))
				require.NoError(b, os.Rename(temporary, filepath.Join(dir, fmt.Sprintf("f%d.yaml", file))))
			}
			require.NoError(b, os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(`apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]
`), 0o600))
			for file := range files {
				write(file, 0)
			}
			time.Sleep(2100 * time.Millisecond) // the reader believes the times of files that lie still
			log := logrus.New()
			log.SetLevel(logrus.ErrorLevel)
			c := control.New(control.Options{
				Directory: dir, Logger: log, Server: server.New(server.Options{}),
				Watch: func(ctx context.Context, _ string, _ source.Options, _ func()) error {
					<-ctx.Done()
					return nil
				},
			})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			require.NoError(b, c.Look(ctx))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				before := c.Status().Generation
				write(0, int(before))
				b.StartTimer()
				require.NoError(b, c.Look(ctx))
				require.Equal(b, before+1, c.Status().Generation, "%v", c.Status().Errors)
			}
			cancel()
			require.NoError(b, <-done)
		})
	}
}
