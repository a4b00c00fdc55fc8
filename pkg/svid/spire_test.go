package svid_test

import (
	"context"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"sallyport/pkg/ca"
	"sallyport/pkg/svid"
)

// agent speaks the Workload API as SPIRE's agent does
// (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md).
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	updates chan *workload.X509SVIDResponse
}

func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, str grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	if md, _ := metadata.FromIncomingContext(str.Context()); len(md["workload.spiffe.io"]) == 0 {
		return context.Canceled // the API demands the header
	}
	for {
		select {
		case u := <-a.updates:
			if err := str.Send(u); err != nil {
				return err
			}
		case <-str.Context().Done():
			return nil
		}
	}
}

// gives issues a certificate, to be sent.
func (a *agent) gives(t *testing.T, authority *ca.Authority) string {
	t.Helper()
	credential, err := authority.Issue(ca.Workload(controlPlane))
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(credential.TLS().PrivateKey)
	require.NoError(t, err)
	a.updates <- &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
		SpiffeId: controlPlane, X509Svid: credential.Certificate.Raw, X509SvidKey: key, Bundle: authority.Certificate().Raw,
	}}}
	return credential.Certificate.SerialNumber.String()
}

func TestFromSPIRE(t *testing.T) {
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	a := &agent{updates: make(chan *workload.X509SVIDResponse, 4)}
	g := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(g, a)
	go func() { _ = g.Serve(l) }() // it ends with Stop
	t.Cleanup(g.Stop)

	first := a.gives(t, authority)
	s, stop, err := svid.FromSPIRE(t.Context(), "unix://"+socket)
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	shown := func() string {
		own, err := s.GetX509SVID()
		require.NoError(t, err)
		return own.Certificates[0].SerialNumber.String()
	}
	require.Equal(t, first, shown())
	second := a.gives(t, authority)
	require.Eventually(t, func() bool { return shown() == second }, 10*time.Second, time.Millisecond, "its rotation is followed")
	require.NotNil(t, svid.ServerTLS(s))

	_, _, err = svid.FromSPIRE(t.Context(), "nonsense")
	require.ErrorContains(t, err, "SPIRE at nonsense")
}
