package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/pkg/ca"
)

// EchoProtocol is the ALPN protocol name under which every server, not only
// those of Site.Echo, sends back each byte. See serveEcho.
const EchoProtocol = "sallyport-echo"

// handshakeTimeout is how long a client of a server may take for TLS.
const handshakeTimeout = 30 * time.Second

// Origin is a server of the pretend internet: HTTPS, HTTP/1.1 and HTTP/2, at an
// address of its own.
//
// Any path is a page that says which server answered and which server name it
// was asked under. /stream is an answer without end, a line every 100 ms; /hold
// one that begins and then says nothing.
type Origin struct {
	site     Site
	listener net.Listener
	config   *tls.Config
	web      *http.Server
	shaken   *handover
	stop     context.CancelFunc
	stopped  context.Context
	serving  sync.WaitGroup

	closing  sync.Once
	closeErr error

	accepted   atomic.Int64
	handshakes atomic.Int64

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	names []string
	// received are the latest requests.
	received []Received
}

func newOrigin(listener net.Listener, root *ca.Authority, site Site) (*Origin, error) {
	if site.Name == "" && len(site.Hosts) > 0 {
		site.Name = site.Hosts[0]
	}
	if len(site.Certificate) == 0 {
		site.Certificate = site.Hosts
	}
	credential, err := root.Issue(ca.Origin(site.Certificate...))
	if err != nil {
		return nil, fmt.Errorf("start the server %q: %w", site.Name, err)
	}
	o := &Origin{site: site, listener: listener, open: map[net.Conn]struct{}{}}
	o.stopped, o.stop = context.WithCancel(context.Background())
	o.config = &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{credential.TLS()},
		NextProtos:   []string{"h2", "http/1.1", EchoProtocol},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.names = append(o.names, hello.ServerName)
			return nil, nil // the configuration stays as it is
		},
	}
	if site.Echo {
		o.config.NextProtos = nil // whatever a client offers, it gets the echo
	}
	o.shaken = &handover{address: listener.Addr(), conns: make(chan net.Conn), closed: o.stopped.Done()}
	o.web = &http.Server{
		Handler:           http.HandlerFunc(o.page),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that are cut off are the point
		BaseContext:       func(net.Listener) context.Context { return o.stopped },
	}
	o.serving.Go(o.accept)
	o.serving.Go(func() { _ = o.web.Serve(o.shaken) }) // it ends with the handover
	return o, nil
}

// Name is what the server calls itself.
func (o *Origin) Name() string { return o.site.Name }

// Address is where it listens.
func (o *Origin) Address() netip.AddrPort { return o.listener.Addr().(*net.TCPAddr).AddrPort() }

// Accepted is how many TCP connections it was sent, whatever became of them:
// if it stays the same, then there was no SYN.
func (o *Origin) Accepted() int64 { return o.accepted.Load() }

// Open is how many connections are open now.
func (o *Origin) Open() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}

// Handshakes is how many TLS handshakes it has completed.
func (o *Origin) Handshakes() int64 { return o.handshakes.Load() }

// ServerNames are the server names of all hellos, in their order; "" is a hello
// without one. A client that has its answer finds its own in there.
func (o *Origin) ServerNames() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.names)
}

// Close closes the server and all its connections, and waits for their end.
// Once more does no harm.
func (o *Origin) Close() error {
	o.closing.Do(func() {
		o.stop()
		o.closeErr = o.listener.Close()
		o.mu.Lock()
		open := slices.Collect(maps.Keys(o.open))
		o.mu.Unlock()
		for _, conn := range open {
			_ = conn.Close() // it may be closed already
		}
		o.closeErr = errors.Join(o.closeErr, o.web.Close())
		o.serving.Wait()
	})
	return o.closeErr
}

func (o *Origin) accept() {
	for {
		conn, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.accepted.Add(1)
		tracked := &trackedConn{Conn: conn, origin: o}
		o.mu.Lock()
		o.open[tracked] = struct{}{}
		o.mu.Unlock()
		if o.stopped.Err() != nil { // Close has gone through the others
			_ = tracked.Close()
			return
		}
		o.serving.Go(func() { o.shake(tracked) })
	}
}

// shake makes the TLS handshake and hands the connection on.
func (o *Origin) shake(raw net.Conn) {
	conn := tls.Server(raw, o.config)
	ctx, cancel := context.WithTimeout(o.stopped, handshakeTimeout)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		_ = conn.Close()
		return
	}
	o.handshakes.Add(1)
	if o.site.Echo || conn.ConnectionState().NegotiatedProtocol == EchoProtocol {
		o.serveEcho(conn)
		return
	}
	o.shaken.give(conn)
}

// heartbeat is how often a server speaks that speaks by itself.
const heartbeat = 100 * time.Millisecond

// serveEcho sends back what comes. Once the client has said that it will send
// no more, it sends a dot now and then, so that a connection that is open in
// one direction only can be seen to be so.
func (o *Origin) serveEcho(conn *tls.Conn) {
	defer func() { _ = conn.Close() }()
	if _, err := io.Copy(conn, conn); err != nil {
		return
	}
	_ = o.beat(o.stopped, func() error {
		_, err := conn.Write([]byte("."))
		return err
	})
}

// beat calls f every heartbeat until it fails or the context ends.
func (o *Origin) beat(ctx context.Context, f func() error) error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// The headers that say how a request arrived, beside the page.
const (
	serverHeader = "Lab-Server"
	nameHeader   = "Lab-Server-Name"
)

func (o *Origin) page(w http.ResponseWriter, r *http.Request) {
	o.remember(r)
	name := r.TLS.ServerName
	w.Header().Set(serverHeader, o.Name())
	w.Header().Set(nameHeader, name)
	out := http.NewResponseController(w)
	switch r.URL.Path {
	case "/stream":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		line := 0
		// It ends when the client goes or the server stops.
		_ = o.beat(r.Context(), func() error {
			line++
			if _, err := fmt.Fprintf(w, "line %d\n", line); err != nil {
				return err
			}
			return out.Flush()
		})
	case "/hold":
		w.WriteHeader(http.StatusOK)
		if out.Flush() == nil {
			<-r.Context().Done()
		}
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// A client that does not read its page has gone.
		page := "<!DOCTYPE html>\n<html><head><title>%s</title></head>\n" +
			"<body><p>server: %s</p><p>server name: %s</p></body></html>\n"
		_, _ = fmt.Fprintf(w, page, text(Title(name)), text(o.Name()), text(name)) //nolint:gosec // text escapes what the client sent
	}
}

// text makes a string safe as text in HTML. Unlike html.EscapeString it leaves
// quotes alone, so that titles look on the wire as people know them.
func text(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// trackedConn tells its origin when it is closed.
type trackedConn struct {
	net.Conn
	origin *Origin
}

// Close closes the connection.
func (c *trackedConn) Close() error {
	c.origin.mu.Lock()
	delete(c.origin.open, c)
	c.origin.mu.Unlock()
	return c.Conn.Close()
}

// handover is a listener of connections that others accepted.
type handover struct {
	address net.Addr
	conns   chan net.Conn
	closed  <-chan struct{}
}

func (h *handover) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		_ = conn.Close()
	}
}

// Accept waits for the next connection.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the handover ends with its origin.
func (h *handover) Close() error { return nil }

// Addr is the address of the real listener.
func (h *handover) Addr() net.Addr { return h.address }
