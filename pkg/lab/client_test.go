package lab_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// accepting runs a server that does with every connection what f says.
func accepting(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f(conn)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-done
	})
	return listener.Addr().String()
}

func TestOutcomesOfGet(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	hello := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }
	held := make(chan net.Conn, 1)
	for name, test := range map[string]struct {
		proxy string
		host  string
		want  lab.Outcome
	}{
		"closed after the hello": {accepting(t, func(c net.Conn) { hello(c); _ = c.Close() }), "a.example", lab.Refused},
		"closed at once":         {accepting(t, func(c net.Conn) { _ = c.Close() }), "a.example", lab.Refused},
		"reset": {accepting(t, func(c net.Conn) {
			hello(c)
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}), "a.example", lab.Refused},
		"silent":         {accepting(t, func(c net.Conn) { held <- c }), "a.example", lab.TimedOut},
		"not TLS":        {accepting(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad\r\n\r\n"); _ = c.Close() }), "a.example", lab.Failed},
		"nobody there":   {"127.0.0.1:1", "a.example", lab.Failed},
		"another host's": {n.Origin("a.example").Address().String(), "b.example", lab.Untrusted},
		"the right one":  {n.Origin("a.example").Address().String(), "a.example", lab.Answered},
	} {
		t.Run(name, func(t *testing.T) {
			client := &lab.Client{Proxy: test.proxy, Roots: n.Root.Pool()}
			if test.want == lab.TimedOut {
				client.Timeout = 100 * time.Millisecond
			}
			response := client.Get(t.Context(), test.host, "/")
			require.Equal(t, test.want.String(), response.Outcome.String(), "%v", response.Err)
			require.Equal(t, test.want == lab.Answered, response.Err == nil)
			require.NotEmpty(t, response.String())
		})
	}
	require.NoError(t, (<-held).Close())
	require.Equal(t, lab.Failed, lab.Outcome(0), "what nobody classified is no refusal")
}

// cutting forwards to a server, and cuts all connections when it is told to.
func cutting(t *testing.T, server string, cut <-chan struct{}) string {
	t.Helper()
	return accepting(t, func(client net.Conn) {
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(upstream, client) }()
		go func() { _, _ = io.Copy(client, upstream) }()
		go func() {
			<-cut
			_, _ = client.Close(), upstream.Close()
		}()
	})
}

func TestGetThatIsCutAfterItsHandshakeIsBroken(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	origin := n.Origin("a.example")
	cut := make(chan struct{})
	client := &lab.Client{Proxy: cutting(t, origin.Address().String(), cut), Roots: n.Root.Pool(), Timeout: patience}
	response := make(chan lab.Response)
	go func() { response <- client.Get(t.Context(), "a.example", "/stream") }()
	// The server is through with the handshake after the client.
	require.Eventually(t, func() bool { return origin.Handshakes() > 0 }, patience, time.Millisecond)
	close(cut)
	got := <-response
	require.Equal(t, lab.Broken.String(), got.Outcome.String(), "%v", got.Err)
}

var modes = []lab.Mode{lab.Active, lab.Idle, lab.HalfOpen}

func TestConnLivesUntilItIsEnded(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			n := internet(t, lab.Site{Hosts: []string{"a.example"}})
			conn, err := direct(n, "a.example").Open(soon(t), "a.example", mode)
			require.NoError(t, err)
			require.Equal(t, "a.example", conn.Host())
			require.Equal(t, mode, conn.Mode())
			for range 3 {
				require.NoError(t, conn.Alive(soon(t)))
			}
			at, err := conn.End()
			require.Zero(t, at)
			require.NoError(t, err)

			before := time.Now()
			require.NoError(t, n.Origin("a.example").Close())
			<-conn.Ended()
			at, err = conn.End()
			require.Error(t, err)
			require.NotErrorIs(t, err, net.ErrClosed)
			require.False(t, at.Before(before))
			require.ErrorContains(t, conn.Alive(soon(t)), "has ended")
			require.NoError(t, conn.Close())
		})
	}
}

func TestConnClosedByItsOwner(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	for _, mode := range modes {
		conn, err := direct(n, "a.example").Open(soon(t), "a.example", mode)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		_, err = conn.End()
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, conn.Close(), "a second time is no harm")
	}
	require.Eventually(t, func() bool { return n.Origin("a.example").Open() == 0 }, patience, time.Millisecond)
}

func TestConnThatIsHeldUpIsNotAlive(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	stall := make(chan struct{})
	proxy := accepting(t, func(client net.Conn) {
		upstream, err := net.Dial("tcp", n.Origin("a.example").Address().String())
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(upstream, client) }()
		go func() {
			<-stall
			_ = upstream.(*net.TCPConn).SetReadDeadline(time.Now())
		}()
		go func() { _, _ = io.Copy(client, upstream) }()
		t.Cleanup(func() { _, _ = client.Close(), upstream.Close() })
	})
	conn, err := (&lab.Client{Proxy: proxy, Roots: n.Root.Pool()}).Open(soon(t), "a.example", lab.Active)
	require.NoError(t, err)
	require.NoError(t, conn.Alive(soon(t)))
	close(stall)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := conn.Alive(ctx)
		return err != nil && strings.Contains(err.Error(), "is silent")
	}, patience, time.Millisecond)
	require.NoError(t, conn.Close())
}

func TestOpenRefused(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	client := &lab.Client{Proxy: accepting(t, func(c net.Conn) { _ = c.Close() }), Roots: n.Root.Pool()}
	_, err := client.Open(soon(t), "a.example", lab.Active)
	require.Equal(t, lab.Refused, lab.OfHandshake(err), "%v", err)
}
