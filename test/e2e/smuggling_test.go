package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/policy/model"
)

// wild is a wildcard whose names nobody wrote down.
const wild = "wild.example.org"

// smuggling is what the tests of odd requests stand on: en is allowed and so is
// what is under wild, google is known and not allowed, nothing else is known.
type smuggling struct {
	*rig
	app *lab.Proxied
	// seen is how many requests of each server were judged already.
	seen map[*lab.Origin]int
}

func newSmuggling(t *testing.T) *smuggling {
	t.Helper()
	r := httpRig(t, append(lab.Wikipedia(), lab.Site{Hosts: []string{"*." + wild}})...)
	r.write("hosts.yaml", originated(r.Destination("hosts", "", en, google, "*."+wild)))
	r.write("allow.yaml", allow("some", us, en, "*."+wild))
	r.write("google.yaml", allow("google", canada, google))
	s := &smuggling{rig: r, app: r.proxied(demo.WorkloadID(us)), seen: map[*lab.Origin]int{}}
	r.asks(lab.Answered, s.app, en)
	s.judge(t, "the first request")
	return s
}

// judge asserts of what reached servers since the last call that the policy
// allows it, by the name that the server was sent, and that it reached the
// server of that name. It returns how much it was.
func (s *smuggling) judge(t *testing.T, what string) int {
	t.Helper()
	gateway := s.log.Gateway()
	reached := 0
	for _, origin := range s.Internet.Origins() {
		all := origin.Requests()
		for _, got := range all[s.seen[origin]:] {
			reached++
			d := gateway.DecideRequest(demo.WorkloadID(us), false, got.Host)
			require.Equal(t, model.Allow, d.Verdict, "%s: %s was asked for %q (%s)", what, origin.Name(), got.Host, d.Reason)
			name := strings.ToLower(got.Host)
			require.Equal(t, name, strings.ToLower(got.ServerName), "%s: two names", what)
			require.Equal(t, name == en, origin.Name() == en, "%s: %s was asked for %q", what, origin.Name(), got.Host)
		}
		s.seen[origin] = len(all)
		for _, name := range origin.ServerNames() {
			require.True(t, strings.ToLower(name) == en || strings.HasSuffix(name, "."+wild), "%s: a connection for %q", what, name)
		}
	}
	require.Empty(t, s.Internet.DNS.Queries(google), what)
	return reached
}

// send sends bytes as they are, and returns the status of each answer; 0 stands
// for a connection that ended without one.
func (s *smuggling) send(t *testing.T, answers int, parts ...string) (statuses []int, tunnel bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	conn, err := s.app.DialProxy(ctx, "http/1.1")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(3*time.Second)))
	for _, part := range parts {
		if _, err := io.WriteString(conn, part); err != nil {
			break // it may have been closed already
		}
	}
	reader := bufio.NewReader(conn)
	for range answers {
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			return append(statuses, 0), tunnel
		}
		statuses = append(statuses, answer.StatusCode)
		if answer.StatusCode == 200 && answer.ContentLength < 0 && len(answer.TransferEncoding) == 0 {
			return statuses, true // only a tunnel has neither
		}
		_, _ = io.Copy(io.Discard, answer.Body)
	}
	return statuses, tunnel
}

const (
	head = " HTTP/1.1\r\n"
	// evil is a request that somebody might take for one.
	evil = "GET / HTTP/1.1\r\nHost: " + google + "\r\n\r\n"
	end  = "\r\nConnection: close\r\n\r\n"
)

// perhaps stands for a request whose fields may reach the server before the rest
// of it is found to be wrong.
const perhaps = -1

// odd is an HTTP/1.1 request, or what looks like one.
type odd struct {
	name string
	// sent is what the client sends.
	sent string
	// answers is what comes back; reaches is how many requests reach a server.
	answers []int
	reaches int
}

// get is a GET with a Host field.
func get(host string) string { return "GET /" + head + "Host: " + host + end }

// absolute is a GET of a URL.
func absolute(url, host string) string { return "GET " + url + head + "Host: " + host + end }

func connect(authority string) string {
	return "CONNECT " + authority + head + "Host: " + en + ":443\r\n\r\n"
}

func post(fields, body string) string {
	return "POST /" + head + "Host: " + en + "\r\n" + fields + "\r\n\r\n" + body
}

// TestSmugglingHTTP1 sends requests that two readers might read in two ways. What
// reaches a server must be what the policy allows, whoever reads it.
func TestSmugglingHTTP1(t *testing.T) {
	s := newSmuggling(t)
	for _, tc := range oddRequests() {
		t.Run(tc.name, func(t *testing.T) {
			statuses, _ := s.send(t, max(1, len(tc.answers)), tc.sent)
			require.Equal(t, tc.answers, statuses)
			if tc.reaches <= 0 {
				time.Sleep(20 * time.Millisecond) // what is not to come has its time
			}
			if reached := s.judge(t, tc.name); tc.reaches != perhaps {
				require.Equal(t, tc.reaches, reached)
			}
		})
	}
	s.judge(t, "all together")
}

// longest is a name under the wildcard of so many bytes.
func longest(bytes int) string {
	free := bytes - len(wild) - len(".")
	return strings.Repeat("b.", free/2-1) + strings.Repeat("b", free-2*(free/2-1)) + "." + wild
}

func oddRequests() []odd {
	no, bad, ok := []int{403}, []int{400}, []int{200}
	return []odd{
		{"a request", get(en), ok, 1},
		{"absolute form, another Host", absolute("http://"+en+"/", google), ok, 1},
		{"absolute form, a Host that is allowed", absolute("http://"+google+"/", en), no, 0},
		{"absolute form, https", absolute("https://"+en+"/", en), ok, 1},
		{"absolute form, https and its port", absolute("https://"+en+":443/", en), no, 0},
		{"absolute form, another scheme", absolute("ftp://"+en+"/", en), bad, 0},
		{"absolute form, capitals", absolute("HTTP://"+strings.ToUpper(en)+"/", google), ok, 1},
		{"absolute form, without a path", absolute("http://"+en, google), ok, 1},
		{"two Hosts", "GET /" + head + "Host: " + en + "\r\nHost: " + google + end, no, 0},
		{"two Hosts, the other first", "GET /" + head + "Host: " + google + "\r\nHost: " + en + end, no, 0},
		{"two Hosts, the same", "GET /" + head + "Host: " + en + "\r\nHost: " + en + end, no, 0},
		{"a list of Hosts", get(en + "," + google), no, 0},
		{"no Host", "GET /" + head + "Connection: close\r\n\r\n", bad, 0},
		{"an empty Host", get(""), no, 0},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: " + en + "\r\n\r\n", ok, 1},
		{"HTTP/1.0 without a Host", "GET / HTTP/1.0\r\n\r\n", bad, 0},
		{"HTTP/1.0 with a URL", "GET http://" + en + "/ HTTP/1.0\r\n\r\n", ok, 1},
		{"HTTP/1.0 with another URL", "GET http://" + google + "/ HTTP/1.0\r\nHost: " + en + "\r\n\r\n", no, 0},
		{"HTTP/1.0 with chunks", "POST / HTTP/1.0\r\nHost: " + en + "\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + evil, []int{200, 403}, 1},
		{"a tunnel in HTTP/1.0", "CONNECT " + en + ":443 HTTP/1.0\r\n\r\n", ok, 0},
		{"a refused tunnel in HTTP/1.0", "CONNECT " + google + ":443 HTTP/1.0\r\n\r\n", no, 0},
		{"HTTP/0.9", "GET /\r\n\r\n", bad, 0},
		{"port 80", get(en + ":80"), ok, 1},
		{"port 443", get(en + ":443"), no, 0},
		{"another port", get(en + ":8080"), no, 0},
		{"port 0", get(en + ":0"), no, 0},
		{"an empty port", get(en + ":"), no, 0},
		{"a port with a zero before it", get(en + ":080"), no, 0},
		{"a port too large", get(en + ":65616"), no, 0},
		{"two ports", get(en + ":80:80"), no, 0},
		{"a port that is a host", get(en + ":" + google), no, 0},
		{"userinfo", get("user@" + en), no, 0},
		{"userinfo that is a host", get(en + "@" + google), no, 0},
		{"userinfo that is a host and a port", get(en + ":80@" + google), no, 0},
		{"userinfo in a URL", absolute("http://"+google+"@"+en+"/", google), ok, 1},
		{"userinfo in a URL, the other way round", absolute("http://"+en+"@"+google+"/", en), no, 0},
		{"userinfo with a port in a URL", absolute("http://"+en+":80@"+google+"/", en), no, 0},
		{"a backslash in a URL", absolute("http://"+en+`\@`+google+"/", en), bad, 0},
		{"a fragment in a URL", absolute("http://"+en+"#@"+google+"/", en), bad, 0},
		{"a query in a URL", absolute("http://"+en+"?@"+google+"/", google), []int{404}, 0},
		{"mixed case", get("eN.WiKiPeDiA.oRg"), ok, 1},
		{"a trailing dot", get(en + "."), no, 0},
		{"a trailing dot and a port", get(en + ".:80"), no, 0},
		{"percent-encoding", get("en%2ewikipedia.org"), no, 0},
		{"percent-encoding in a URL", absolute("http://%65n.wikipedia.org/", en), bad, 0},
		{"an IPv4 address", get("127.0.1.1"), no, 0},
		{"an IPv4 address as a number", get("2130706689"), no, 0},
		{"an IPv6 address", get("[::1]"), no, 0},
		{"an IPv4 address as IPv6", get("[::ffff:127.0.1.1]:80"), no, 0},
		{"a path in the Host", get(en + "/@" + google), bad, 0},
		{"a space in the Host", get(en + " " + google), bad, 0},
		{"a fullwidth dot", get("en\uff0ewikipedia.org"), bad, 0},
		{"the Kelvin sign for a k", get("en.wi\u212aipedia.org"), bad, 0},
		{"a byte that is no text", get(en + "\xff"), bad, 0},
		{"an underscore under a wildcard", get("a_b." + wild), ok, 1},
		{"a hyphen first under a wildcard", get("-a." + wild), no, 0},
		{"an empty label under a wildcard", get("a.." + wild), no, 0},
		{"only a dot under a wildcard", get("." + wild), no, 0},
		{"the wildcard itself", get("*." + wild), no, 0},
		{"the name the wildcard hangs below", get(wild), no, 0},
		// The host's certificate is for one label.
		{"a name of 253 bytes", get(longest(253)), []int{503}, 0},
		{"a name of 254 bytes", get(longest(254)), no, 0},
		{"a Host of 20 KiB", get(strings.Repeat("a.", 10<<10) + wild), no, 0},
		{"a Host of 100 KiB", get(strings.Repeat("a.", 50<<10) + wild), []int{431}, 0},
		{"other fields that name a host", "GET /" + head + "Host: " + en + "\r\nX-Forwarded-Host: " + google + "\r\nX-Original-Host: " + google +
			"\r\nX-Envoy-Original-Dst-Host: 127.0.1.6:443\r\nX-HTTP-Method-Override: CONNECT\r\nForwarded: host=" + google + end, ok, 1},

		{"a tunnel", connect(en + ":443"), ok, 0},
		{"a tunnel, another Host", "CONNECT " + en + ":443" + head + "Host: " + google + ":443\r\n\r\n", ok, 0},
		{"a tunnel, a Host that is allowed", connect(google + ":443"), no, 0},
		{"a tunnel to no port", connect(en), bad, 0},
		{"a tunnel to port 22", connect(en + ":22"), no, 0},
		{"a tunnel to port 80", connect(en + ":80"), no, 0},
		{"a tunnel to an IPv4 address", connect("127.0.1.1:443"), no, 0},
		{"a tunnel to an IPv6 address", connect("[::1]:443"), no, 0},
		{"a tunnel to a number", connect("2130706689:443"), no, 0},
		{"a tunnel to a URL", connect("http://" + en + "/"), bad, 0},
		{"a tunnel with a path", connect(en + ":443/"), bad, 0},
		{"a tunnel with userinfo", connect(google + "@" + en + ":443"), bad, 0},
		{"a tunnel with userinfo and a port", connect(en + ":443@" + google + ":443"), bad, 0},
		{"a tunnel to *", connect("*"), bad, 0},
		{"a tunnel to nothing", connect(":443"), bad, 0},
		{"a tunnel to a trailing dot", connect(en + ".:443"), no, 0},
		{"a tunnel in lower case", "connect " + en + ":443" + head + "Host: " + en + "\r\n\r\n", bad, 0},
		{"a tunnel with a request behind it", connect(en+":443") + evil, ok, 0},
		{"a refused tunnel with a request behind it", connect(google+":443") + get(en), no, 0},

		{"a space before the colon", "GET /" + head + "Host : " + en + end, bad, 0},
		{"a space before the field", "GET /" + head + " Host: " + en + end, bad, 0},
		{"a tab after the colon", "GET /" + head + "Host:\t" + en + end, ok, 1},
		{"a folded Host", "GET /" + head + "Host: " + en + "\r\n " + google + end, bad, 0},
		{"a folded field", "GET /" + head + "Host: " + en + "\r\nX-A: b\r\n Host: " + google + end, ok, 1},
		{"two spaces in the request line", "GET  /" + head + "Host: " + en + end, ok, 1},
		{"a tab in the request line", "GET\t/" + head + "Host: " + en + end, ok, 1},
		{"line feeds alone", "GET / HTTP/1.1\nHost: " + en + "\nConnection: close\n\n", ok, 1},
		{"a carriage return alone", "GET /" + head + "Host: " + en + "\rHost: " + google + end, bad, 0},
		{"a NUL", "GET /" + head + "Host: " + en + "\x00" + google + end, bad, 0},
		{"an empty line first", "\r\n" + get(en), ok, 1},
		{"*", "OPTIONS *" + head + "Host: " + en + end, []int{404}, 0},
		{"a request for HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{0}, 0},
		{"an upgrade to HTTP/2", "GET /" + head + "Host: " + en + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", ok, 1},
		{"an upgrade to a web socket", "GET /" + head + "Host: " + en + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", no, 0},
		{"an upgrade to a tunnel", "GET /" + head + "Host: " + en + "\r\nConnection: Upgrade\r\nUpgrade: CONNECT\r\n\r\n", no, 0},
		{"an upgrade to a tunnel in small letters", "GET /" + head + "Host: " + en + "\r\nConnection: upgrade\r\nUpgrade: connect\r\n\r\n", no, 0},
		{"an upgrade to one of two", "GET /" + head + "Host: " + en + "\r\nConnection: upgrade\r\nUpgrade: websocket, CONNECT\r\n\r\n", no, 0},
		{"an upgrade to a tunnel with a body", "POST /" + head + "Host: " + en + "\r\nConnection: Upgrade\r\nUpgrade: CONNECT\r\nContent-Length: " + strconv.Itoa(len(evil)) + "\r\n\r\n" + evil, no, 0},
		{"a Host that the connection is to forget", "GET /" + head + "Host: " + en + "\r\nConnection: close, Host\r\n\r\n", bad, 0},

		{"another request in the same connection", strings.Replace(get(en), end, "\r\n\r\n", 1) + evil, []int{200, 403}, 1},
		{"the other way round", evil + get(en), []int{403, 200}, 1},
		{"a request as a body", post(fmt.Sprintf("Content-Length: %d\r\nConnection: close", len(evil)), evil), ok, 1},
		{"a request in a chunk", post("Transfer-Encoding: chunked\r\nConnection: close", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(evil), evil)), ok, 1},
		{"a request behind a body", post("Content-Length: 1", "x"+evil), []int{200, 403}, 1},
		{"a request behind the last chunk", post("Transfer-Encoding: chunked", "0\r\n\r\n"+evil), []int{200, 403}, 1},
		{"a length and chunks", post("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+evil), bad, 0},
		{"chunks and a length", post(fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: %d", len(evil)+5), "0\r\n\r\n"+evil), bad, 0},
		{"two lengths", post("Content-Length: 0\r\nContent-Length: "+strconv.Itoa(len(evil)), evil), bad, 0},
		{"a list of lengths", post("Content-Length: 0, "+strconv.Itoa(len(evil)), evil), bad, 0},
		{"a length with a sign", post("Content-Length: +1", "x"+evil), bad, 0},
		{"a length below zero", post("Content-Length: -1", evil), bad, 0},
		{"a length that is no number", post("Content-Length: 0x1", "x"+evil), bad, 0},
		{"chunks by another name", post("Transfer-Encoding: xchunked\r\nContent-Length: 5", "0\r\n\r\n"+evil), bad, 0},
		{"chunks twice", post("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"+evil), []int{501}, 0},
		{"chunks, and then not", post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"+evil), []int{501}, 0},
		{"chunks and a space before the colon", post("Transfer-Encoding : chunked\r\nContent-Length: 5", "0\r\n\r\n"+evil), bad, 0},
		{"chunks with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\nContent-Length: 5", "0\r\n\r\n"+evil), bad, 0},
		{"chunks folded", post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5", "0\r\n\r\n"+evil), bad, 0},
		{"a size of chunk too large", post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n"+evil), bad, perhaps},
		{"a size of chunk with a sign", post("Transfer-Encoding: chunked", "-1\r\n"+evil), bad, perhaps},
	}
}

// odd2 is a request of HTTP/2.
type odd2 struct {
	name    string
	fields  []string // name, value, …
	answer  string
	reaches int
}

// TestSmugglingHTTP2 does the same with HTTP/2, whose fields a client can put as
// it likes.
func TestSmugglingHTTP2(t *testing.T) {
	s := newSmuggling(t)
	with := func(authority string, more ...string) []string {
		return append([]string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", authority}, more...)
	}
	tunnel := func(authority string, more ...string) []string {
		return append([]string{":method", "CONNECT", ":authority", authority}, more...)
	}
	for _, tc := range []odd2{
		{"a request", with(en), "200", 1},
		{"another host field", with(en, "host", google), "200", 1},
		{"a host field that is allowed", with(google, "host", en), "403", 0},
		{"no authority, a host field", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", en}, "200", 1},
		{"no authority, a host field that is not allowed", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", google}, "403", 0},
		{"no authority at all", []string{":method", "GET", ":scheme", "http", ":path", "/"}, "reset", 0},
		{"an empty authority", with(""), "reset", 0},
		{"two authorities", with(en, ":authority", google), "reset", 0},
		{"two host fields", []string{":method", "GET", ":scheme", "http", ":path", "/", "host", en, "host", google}, "reset", 0},
		{"an authority behind the fields", []string{":method", "GET", ":scheme", "http", ":path", "/", "x-a", "b", ":authority", en}, "reset", 0},
		{"mixed case", with("eN.WiKiPeDiA.oRg"), "200", 1},
		{"a trailing dot", with(en + "."), "403", 0},
		{"userinfo", with(google + "@" + en), "reset", 0},
		{"a port", with(en + ":80"), "200", 1},
		{"the port of https", with(en + ":443"), "403", 0},
		{"https", []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", en}, "200", 1},
		{"a path that is a URL", []string{":method", "GET", ":scheme", "http", ":path", "http://" + google + "/", ":authority", en}, "reset", 0},
		{"a path that is a URL, the other way round", []string{":method", "GET", ":scheme", "http", ":path", "http://" + en + "/", ":authority", google}, "reset", 0},
		{"a path without a slash", []string{":method", "GET", ":scheme", "http", ":path", "x", ":authority", en}, "reset", 0},
		{"a line break in a field", with(en, "x-a", "b\r\nhost: "+google), "reset", 0},
		{"a line break in the authority", with(en + "\r\nhost: " + google), "reset", 0},
		{"capitals in a field's name", with(en, "Host", google), "reset", 0},
		{"a transfer-encoding", with(en, "transfer-encoding", "chunked"), "reset", 0},
		{"a connection field", with(en, "connection", "host"), "reset", 0},
		{"an upgrade", with(en, "upgrade", "websocket", "connection", "upgrade"), "reset", 0},
		{"an IPv4 address", with("127.0.1.1"), "403", 0},
		{"an IPv6 address", with("[::1]:80"), "403", 0},
		{"a tunnel", tunnel(en + ":443"), "200", 0},
		{"a tunnel, another host field", tunnel(en+":443", "host", google), "200", 0},
		{"a tunnel, a host field that is allowed", tunnel(google+":443", "host", en), "403", 0},
		{"a tunnel to no port", tunnel(en), "403", 0},
		{"a tunnel to an IPv4 address", tunnel("127.0.1.1:443"), "403", 0},
		{"a tunnel with a path", tunnel(en+":443", ":path", "/", ":scheme", "http"), "reset", 0},
		{"a web socket", tunnel(en, ":path", "/", ":scheme", "http", ":protocol", "websocket"), "reset", 0},
		{"UDP", tunnel(en, ":path", "/.well-known/masque/udp/127.0.1.1/443/", ":scheme", "http", ":protocol", "connect-udp"), "reset", 0},
		{"a tunnel as a protocol", tunnel(en, ":path", "/", ":scheme", "http", ":protocol", "CONNECT"), "reset", 0},
		{"a tunnel as a protocol in small letters", tunnel(en, ":path", "/", ":scheme", "http", ":protocol", "connect"), "reset", 0},
		{"some other protocol", tunnel(en, ":path", "/", ":scheme", "http", ":protocol", "x"), "reset", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.answer, s.send2(t, tc.fields))
			if tc.reaches == 0 {
				time.Sleep(20 * time.Millisecond)
			}
			require.Equal(t, tc.reaches, s.judge(t, tc.name))
		})
	}
}

// send2 sends a request in a connection of HTTP/2 of its own, and returns the
// status, or "reset" if the stream or the connection was ended.
func (s *smuggling) send2(t *testing.T, fields []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	conn, err := s.app.DialProxy(ctx, "h2")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	require.NoError(t, framer.WriteSettings())
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: fields[1] != "CONNECT",
	}))
	return status2(t, conn, framer)
}

func status2(t *testing.T, conn *tls.Conn, framer *http2.Framer) string {
	t.Helper()
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			require.False(t, errors.Is(err, context.DeadlineExceeded), "the gateway neither answers nor closes")
			return "reset"
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				require.NoError(t, framer.WriteSettingsAck())
			}
		}
	}
}
