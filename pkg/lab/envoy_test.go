package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/lab"
)

// TestClientThroughARealProxy has a real Envoy as the workload's proxy, at a
// reserved port.
func TestClientThroughARealProxy(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	m := newMesh(t, n.Origin("a.example").Address().String())
	_, err := m.authority.IssueFile("web", ca.Workload(workloadID))
	require.NoError(t, err)
	port, err := lab.ReservePort()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, port.Close()) })
	bundle, err := envoy.Workload(envoy.WorkloadOptions{
		Dir: t.TempDir(), ID: "web", Admin: "127.0.0.1:0",
		Listen: []string{port.Address().String()}, Gateway: m.address, GatewayID: gatewayID,
		Certificates: envoy.Certificates{
			Certificate: ca.CertificatePath(m.authority.Dir(), "web"),
			Key:         ca.KeyPath(m.authority.Dir(), "web"),
			CA:          m.authority.CertificatePath(),
		},
	})
	require.NoError(t, err)
	require.NoError(t, bundle.Write())
	process, err := envoy.Start(t.Context(), envoy.ProcessOptions{Config: bundle.Path(), Concurrency: 1})
	require.NoError(t, err)
	require.NoError(t, process.Ready(soon(t)))

	client := &lab.Client{Proxy: port.Address().String(), Roots: n.Root.Pool()}
	response := client.Get(soon(t), "a.example", "/")
	require.NoError(t, response.Err)
	require.Equal(t, "a.example", response.ServerName)
	require.Equal(t, []string{"a.example"}, m.outer)
	require.Equal(t, []string{workloadID}, m.ids)
	var open []*lab.Conn
	for _, mode := range modes {
		conn, err := client.Open(soon(t), "a.example", mode)
		require.NoError(t, err, mode)
		open = append(open, conn)
	}
	for range 2 {
		for _, conn := range open {
			require.NoError(t, conn.Alive(soon(t)))
		}
	}

	// The end of the proxy is the end of them all.
	require.NoError(t, process.Stop(10*time.Second))
	for _, conn := range open {
		<-conn.Ended()
		require.NoError(t, conn.Close())
	}
	require.Equal(t, lab.Failed, client.Get(soon(t), "a.example", "/").Outcome, "nobody listens: that is no refusal")
}
