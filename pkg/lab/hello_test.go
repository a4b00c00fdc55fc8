package lab_test

import (
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/lab"
)

// parse has crypto/tls read a hello and returns what it saw, and the record
// type of its answer.
func parse(t *testing.T, wire []byte) (*tls.ClientHelloInfo, byte) {
	t.Helper()
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	credential, err := n.Root.Issue(ca.Origin("a.example"))
	require.NoError(t, err)
	var seen *tls.ClientHelloInfo
	address := accepting(t, func(raw net.Conn) {
		server := tls.Server(raw, &tls.Config{
			Certificates: []tls.Certificate{credential.TLS()},
			GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
				seen = info
				return nil, nil
			},
		})
		_ = server.Handshake() // it cannot be completed
		_ = server.Close()
	})
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	answer, err := lab.Answer(soon(t), conn, wire)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	return seen, answer[0]
}

const (
	recordAlert     = 21
	recordHandshake = 22
)

func TestHelloIsAHello(t *testing.T) {
	for name, test := range map[string]struct {
		hello    lab.Hello
		name     string
		versions []uint16
	}{
		"ordinary":       {lab.Hello{ServerName: []byte("a.example")}, "a.example", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"no server name": {lab.Hello{}, "", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"TLS 1.3 only":   {lab.Hello{ServerName: []byte("a.example"), Only13: true}, "a.example", []uint16{tls.VersionTLS13}},
		"upper case":     {lab.Hello{ServerName: []byte("A.eXample")}, "A.eXample", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"control bytes":  {lab.Hello{ServerName: []byte("a\x00b.example")}, "a\x00b.example", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"many records":   {lab.Hello{ServerName: []byte("a.example"), Record: 16}, "a.example", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
		"over 16 KiB":    {lab.Hello{ServerName: []byte("a.example"), Padding: 20_000}, "a.example", []uint16{tls.VersionTLS13, tls.VersionTLS12}},
	} {
		t.Run(name, func(t *testing.T) {
			wire := test.hello.Bytes()
			if test.hello.Padding > 0 {
				require.Greater(t, len(wire), 1<<14)
			}
			seen, answer := parse(t, wire)
			require.Equal(t, test.name, seen.ServerName)
			require.Equal(t, test.versions, seen.SupportedVersions)
			require.Equal(t, byte(recordHandshake), answer, "a server hello")
		})
	}
}

func TestHelloWithEncryptedClientHello(t *testing.T) {
	hello := lab.Hello{ServerName: []byte("public.example"), Extensions: []lab.Extension{lab.EncryptedClientHello()}}
	seen, answer := parse(t, hello.Bytes())
	require.Equal(t, "public.example", seen.ServerName)
	require.True(t, slices.Contains(seen.Extensions, 0xfe0d))
	require.Equal(t, byte(recordHandshake), answer, "a server without its key takes the outer hello")
}

func TestHelloThatIsNone(t *testing.T) {
	wire := lab.Hello{ServerName: []byte("a.example.")}.Bytes() // RFC 6066 §3: no trailing dot
	seen, answer := parse(t, wire)
	require.Nil(t, seen)
	require.Equal(t, byte(recordAlert), answer)
}

// counting counts the writes of a connection.
type counting struct {
	net.Conn
	writes int
}

func (c *counting) Write(data []byte) (int, error) {
	c.writes++
	return c.Conn.Write(data)
}

func TestInPieces(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	raw, err := net.Dial("tcp", n.Origin("a.example").Address().String())
	require.NoError(t, err)
	counted := &counting{Conn: raw}
	conn := tls.Client(lab.InPieces(counted, 7), &tls.Config{ServerName: "a.example", RootCAs: n.Root.Pool()})
	require.NoError(t, conn.Handshake())
	require.Greater(t, counted.writes, 20)
	require.NoError(t, conn.Close())

	failing := lab.InPieces(&failAfter{left: 2}, 3)
	written, err := failing.Write([]byte("123456789"))
	require.ErrorIs(t, err, errFull)
	require.Equal(t, 6, written)
}

var errFull = errors.New("full")

// failAfter is a connection that takes so many writes.
type failAfter struct {
	net.Conn
	left int
}

func (f *failAfter) Write(data []byte) (int, error) {
	if f.left == 0 {
		return 0, errFull
	}
	f.left--
	return len(data), nil
}
