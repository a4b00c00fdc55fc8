package differential

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// greeting is what an origin answers to the first bytes of a connection: so the
// client knows that it got through, whatever it sent.
const greeting = "you got through"

// origin accepts TCP connections on loopback.
type origin struct {
	address  netip.AddrPort
	accepted atomic.Int64
}

func startOrigin(t *testing.T, address string) *origin {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	o := &origin{address: listener.Addr().(*net.TCPAddr).AddrPort()}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			o.accepted.Add(1)
			serving.Go(func() {
				defer func() { _ = conn.Close() }() // nobody waits for it
				if n, _ := conn.Read(make([]byte, 1)); n > 0 {
					_, _ = conn.Write([]byte(greeting))
					// To close with bytes unread would be a reset, which can
					// overtake the greeting.
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		serving.Wait()
	})
	return o
}

// oneAddressDNS answers that every name has one address, and remembers who was
// asked for.
type oneAddressDNS struct {
	at      netip.AddrPort
	answer  netip.Addr
	mu      sync.Mutex
	queries []string
}

func startDNS(t *testing.T, answer netip.Addr) *oneAddressDNS {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &oneAddressDNS{at: packets.LocalAddr().(*net.UDPAddr).AddrPort(), answer: answer}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(d.serve), NotifyStartedFunc: func() { close(started) }}
	ended := make(chan error, 1)
	go func() { ended <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		require.NoError(t, server.Shutdown())
		require.NoError(t, <-ended)
	})
	return d
}

func (d *oneAddressDNS) serve(w dns.ResponseWriter, request *dns.Msg) {
	reply := new(dns.Msg).SetReply(request)
	for _, q := range request.Question {
		d.mu.Lock()
		d.queries = append(d.queries, strings.ToLower(strings.TrimSuffix(q.Name, ".")))
		d.mu.Unlock()
		if q.Qtype == dns.TypeA {
			reply.Answer = append(reply.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: d.answer.AsSlice(),
			})
		}
	}
	_ = w.WriteMsg(reply) // who asked may be gone
}

// asked are all names that were asked for so far.
func (d *oneAddressDNS) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.queries)
}
