package lab_test

import (
	"context"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sallyport/pkg/lab"
)

func TestReservedPortIsKeptForOneThatShares(t *testing.T) {
	port, err := lab.ReservePort()
	require.NoError(t, err)
	require.NotZero(t, port.Address().Port())

	_, err = net.Listen("tcp", port.Address().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE, "nobody else gets it")
	_, err = net.Dial("tcp", port.Address().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "the reservation takes no connection")

	// As Envoy listens.
	sharing := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		require.NoError(t, err)
		return failed
	}}
	listener, err := sharing.Listen(context.Background(), "tcp", port.Address().String())
	require.NoError(t, err)
	for range 20 {
		client, err := net.Dial("tcp", port.Address().String())
		require.NoError(t, err)
		server, err := listener.Accept()
		require.NoError(t, err)
		require.Equal(t, client.LocalAddr().String(), server.RemoteAddr().String(), "every connection goes to the listener")
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	}
	require.NoError(t, listener.Close())

	require.NoError(t, port.Close())
	again, err := net.Listen("tcp", port.Address().String())
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestReservedPortsDiffer(t *testing.T) {
	seen := map[uint16]bool{}
	for range 100 {
		port, err := lab.ReservePort()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, port.Close()) })
		require.False(t, seen[port.Address().Port()])
		seen[port.Address().Port()] = true
	}
}
