package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// capture is every packet of the loopback interface: what a server's own log cannot
// show is what never got that far.
type capture struct {
	fd      int
	reading sync.WaitGroup

	mu   sync.Mutex
	syns []netip.AddrPort // whom a connection was asked of
	udp  []datagram
}

type datagram struct {
	to      netip.AddrPort
	content []byte
}

// openCapture needs CAP_NET_RAW and CAP_NET_ADMIN in the network namespace.
func openCapture() (int, error) {
	const all = unix.ETH_P_ALL
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(all<<8&0xff00|all>>8))
	if err != nil {
		return 0, err
	}
	lo, err := net.InterfaceByName("lo")
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8&0xff00 | all>>8, Ifindex: lo.Index})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000})
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// mayCapture reports whether packets can be looked at.
func mayCapture() bool {
	fd, err := openCapture()
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
}

func startCapture(t *testing.T) *capture {
	t.Helper()
	fd, err := openCapture()
	require.NoError(t, err)
	c := &capture{fd: fd}
	stop := make(chan struct{})
	c.reading.Go(func() {
		packet := make([]byte, 1<<16)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, packet, 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return
			}
			// On loopback every packet is seen as it goes and as it comes.
			if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
				c.take(packet[:n])
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		c.reading.Wait()
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		require.NoError(t, err)
		require.Zero(t, stats.Drops, "packets went by unseen")
		require.Positive(t, stats.Packets)
		_ = unix.Close(fd)
	})
	return c
}

// take notes what a packet is (RFC 791, 8200, 9293, 768).
func (c *capture) take(p []byte) {
	if len(p) < 20 {
		return
	}
	var to netip.Addr
	var protocol byte
	var rest []byte
	switch p[0] >> 4 {
	case 4:
		header := int(p[0]&15) * 4
		if len(p) < header {
			return
		}
		to, protocol, rest = netip.AddrFrom4([4]byte(p[16:20])), p[9], p[header:]
	case 6:
		if len(p) < 40 {
			return
		}
		to, protocol, rest = netip.AddrFrom16([16]byte(p[24:40])), p[6], p[40:]
	}
	if len(rest) < 8 {
		return
	}
	at := netip.AddrPortFrom(to, uint16(rest[2])<<8|uint16(rest[3]))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch protocol {
	case unix.IPPROTO_TCP:
		const syn, ack = 2, 16
		if len(rest) >= 20 && rest[13]&(syn|ack) == syn {
			c.syns = append(c.syns, at)
		}
	case unix.IPPROTO_UDP:
		c.udp = append(c.udp, datagram{at, bytes.Clone(rest[8:])})
	}
}

// forget drops what was before, after it had the time to arrive.
func (c *capture) forget() {
	time.Sleep(60 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syns, c.udp = nil, nil
}

// seen is whether a name was asked for, over UDP, and which of the servers was
// asked for a connection: the DNS server too. The interface may be shared with others,
// who have other ports.
func (c *capture) seen(name string, internet *lab.Internet) (asked bool, connected []netip.AddrPort) {
	time.Sleep(60 * time.Millisecond)
	var wire []byte // as in a question (RFC 1035 §3.1)
	for label := range strings.SplitSeq(name, ".") {
		wire = append(append(wire, byte(len(label))), label...)
	}
	servers := []netip.AddrPort{internet.DNS.Address()}
	for _, o := range internet.Origins() {
		servers = append(servers, o.Address())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.udp {
		asked = asked || d.to == internet.DNS.Address() && bytes.Contains(bytes.ToLower(d.content), wire)
	}
	for _, to := range c.syns {
		if slices.Contains(servers, to) {
			connected = append(connected, to)
		}
	}
	return asked, connected
}

// TestRefusedLeavesNoPacket: of a refused connection no packet leaves the gateway:
// no DNS query for the name, over UDP or TCP, and no SYN to any server. Packets are
// looked at on the interface itself.
func TestRefusedLeavesNoPacket(t *testing.T) {
	r := httpRig(t)
	c := startCapture(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en, es))
	r.write("canada.yaml", allow("canada", canada, de))
	r.becomes(lab.Answered, us, en)
	// No other name was asked for yet: Envoy asks again, by itself, for those that
	// it knows.
	known := []string{en, es}
	c.forget()
	r.reaches(us, es)
	asked, connected := c.seen(es, r.Internet)
	require.True(t, asked, "the capture does not see a query that was made")
	require.NotEmpty(t, connected, "the capture does not see a SYN that was sent")

	raw := func(source, host string) lab.Outcome {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		conn, err := dialer.DialContext(r.ctx, "tcp", r.TLS.String())
		require.NoError(t, err)
		defer conn.Close()
		_, err = lab.Answer(r.ctx, conn, lab.Hello{ServerName: []byte(host)}.Bytes())
		return lab.OfHandshake(err)
	}
	for _, tc := range []struct {
		name, host string
		try        func(host string) lab.Outcome
	}{
		{"somebody else's host", de, func(h string) lab.Outcome { return r.Workload(us).Get(r.ctx, h, "/").Outcome }},
		{"a registered host that nobody may reach", fr, func(h string) lab.Outcome { return r.Workload(us).Get(r.ctx, h, "/").Outcome }},
		{"a host that is not registered", google, func(h string) lab.Outcome { return r.Workload(us).Get(r.ctx, h, "/").Outcome }},
		{"nobody, at the TLS listener", "www.wikipedia.org", func(h string) lab.Outcome { return raw("127.0.0.3", h) }},
		{"somebody else's host, at the TLS listener", "pt.wikipedia.org", func(h string) lab.Outcome { return raw("127.0.0.2", h) }},
		{"a CONNECT", "it.wikipedia.org", func(h string) lab.Outcome {
			if conn, err := r.proxied(demo.WorkloadID(us)).DialTLS(r.ctx, h+":443", h); err == nil {
				_ = conn.Close()
				return lab.Answered
			}
			return lab.Refused
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.forget()
			began := time.Now()
			for range 10 {
				require.Equal(t, lab.Refused, tc.try(tc.host))
			}
			asked, connected := c.seen(tc.host, r.Internet)
			require.False(t, asked, "DNS was asked")
			require.Empty(t, connected, "a SYN was sent")
			require.Empty(t, r.Internet.DNS.Queries(tc.host))
			if tc.name != "a CONNECT" {
				_, err := r.flow(began, func(f flows.Flow) bool { return f.Refused() && f.RequestedServerName == tc.host })
				require.NoError(t, err, "it is not logged")
			}
		})
	}

	r.reaches(canada, de) // it could be reached all the time
	known = append(known, de)

	t.Run("revoked", func(t *testing.T) {
		r.write("us.yaml", allow("us", us, es))
		r.becomes(lab.Refused, us, en)
		time.Sleep(1500 * time.Millisecond) // connections that were drained are gone
		c.forget()
		for range 10 {
			require.Equal(t, lab.Refused, r.Workload(us).Get(r.ctx, en, "/").Outcome)
		}
		_, connected := c.seen(en, r.Internet)
		require.Empty(t, connected, "a SYN was sent")
	})

	t.Run("hellos that name nobody", func(t *testing.T) {
		for name, pieces := range map[string][][]byte{
			"no server name":                   {lab.Hello{}.Bytes()},
			"TLS 1.3 alone, to a refused host": {lab.Hello{ServerName: []byte(fr), Only13: true}.Bytes()},
			"a refused host, byte by byte":     split(lab.Hello{ServerName: []byte(fr)}.Bytes(), 1),
			"a refused host, in records of 16": {lab.Hello{ServerName: []byte(fr), Record: 16}.Bytes()},
			"above 16 KiB":                     split(lab.Hello{ServerName: []byte(es), Padding: 20000}.Bytes(), 4096),
			"plain text":                       {[]byte("GET / HTTP/1.1\r\nHost: " + es + "\r\n\r\n")},
			"encrypted client hello":           {lab.Hello{ServerName: []byte("cloudflare-ech.com"), Extensions: []lab.Extension{lab.EncryptedClientHello()}}.Bytes()},
		} {
			for entry, dial := range map[string]func() (net.Conn, error){
				"mutual TLS": func() (net.Conn, error) { return r.direct(demo.WorkloadID(us)).Dial(r.ctx, es) },
				"TLS": func() (net.Conn, error) {
					return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext(r.ctx, "tcp", r.TLS.String())
				},
			} {
				t.Run(name+", "+entry, func(t *testing.T) {
					c.forget()
					began := time.Now()
					conn, err := dial()
					require.NoError(t, err)
					defer conn.Close()
					for _, piece := range pieces {
						if _, err := conn.Write(piece); err != nil {
							break
						}
						if len(pieces) > 1 {
							time.Sleep(2 * time.Millisecond) // so that they are segments of their own
						}
					}
					require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
					n, err := conn.Read(make([]byte, 1))
					require.Zero(t, n, "it was answered")
					require.NotErrorIs(t, err, unix.ETIMEDOUT)
					asked, connected := c.seen(fr, r.Internet)
					require.False(t, asked, "DNS was asked")
					require.Empty(t, connected, "a SYN was sent")
					for _, q := range r.Internet.DNS.Queries("") {
						require.Contains(t, known, q.Name, "DNS was asked")
					}
					_, err = r.flow(began, func(f flows.Flow) bool { return f.Refused() })
					require.NoError(t, err, "it is not logged")
				})
			}
		}
	})
}
