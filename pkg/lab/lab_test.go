package lab_test

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

func TestWikipediaAnswersAsTheRealOneDoes(t *testing.T) {
	n := internet(t, lab.Wikipedia()...)
	for host, title := range map[string]string{
		"en.wikipedia.org":  "Wikipedia, the free encyclopedia",
		"de.wikipedia.org":  "Wikipedia – Die freie Enzyklopädie",
		"es.wikipedia.org":  "Wikipedia, la enciclopedia libre",
		"fr.wikipedia.org":  "Wikipédia, l'encyclopédie libre",
		"www.wikipedia.org": "Wikipedia",
		"www.google.com":    "Google",
	} {
		t.Run(host, func(t *testing.T) {
			// DNS leads to a server of the host's own.
			found, _ := ask(t, n.DNS, "udp", host, dns.TypeA)
			require.Equal(t, []string{n.Origin(host).Address().Addr().String()}, found)
			require.Equal(t, n.Port(), n.Origin(host).Address().Port())

			before := n.Origin(host).Accepted()
			response := direct(n, host).Get(t.Context(), host, "/")
			require.NoError(t, response.Err)
			require.Equal(t, lab.Answered, response.Outcome)
			require.Equal(t, http.StatusOK, response.Status)
			require.Equal(t, title, response.Title)
			require.Equal(t, host, response.Server)
			require.Equal(t, host, response.ServerName)
			require.Equal(t, "HTTP/2.0", response.Protocol)
			require.Contains(t, string(response.Body), "server name: "+host)
			require.Equal(t, before+1, n.Origin(host).Accepted())
			require.Equal(t, []string{host}, n.Origin(host).ServerNames())
		})
	}
	require.Len(t, n.Addresses(), 6)
	require.Equal(t, int64(6), n.Accepted())
	require.Nil(t, n.Origin("example.com"))
}

func TestOneServerServesTheWholeFamily(t *testing.T) {
	n := internet(t, lab.Wikipedia()...)
	response := direct(n, "www.wikipedia.org").Get(t.Context(), "it.wikipedia.org", "/")
	require.NoError(t, response.Err)
	require.Equal(t, "www.wikipedia.org", response.Server)
	require.Equal(t, "it.wikipedia.org", response.ServerName)
	require.Equal(t, "it.wikipedia.org", response.Title)
}

func TestAcceptedCountsConnectionsThatSayNothing(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	origin := n.Origin("a.example")
	conn, err := net.Dial("tcp", origin.Address().String())
	require.NoError(t, err)
	require.Eventually(t, func() bool { return origin.Accepted() == 1 && origin.Open() == 1 }, patience, time.Millisecond)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return origin.Open() == 0 }, patience, time.Millisecond)
	require.Equal(t, int64(1), origin.Accepted())
	require.Empty(t, origin.ServerNames())
}

func TestWildcardSite(t *testing.T) {
	n := internet(t, lab.Site{Name: "random", Hosts: []string{"*.random.example"}})
	found, _ := ask(t, n.DNS, "udp", "x7.random.example", dns.TypeA)
	require.Equal(t, []string{n.Origin("random").Address().Addr().String()}, found)
	require.Same(t, n.Origin("random"), n.Origin("x7.random.example"))
	response := direct(n, "random").Get(t.Context(), "x7.random.example", "/")
	require.NoError(t, response.Err)
	require.Equal(t, "random", response.Server)
}

func TestEchoServer(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"echo.example"}, Echo: true})
	// It echoes whatever protocol a client offers.
	conn, err := direct(n, "echo.example").DialTLS(t.Context(), "echo.example", "http/1.1")
	require.NoError(t, err)
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(conn, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, conn.Close())
}

func TestStreamAndHoldGoOn(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	client := direct(n, "a.example")

	conn, err := client.DialTLS(t.Context(), "a.example", "http/1.1")
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET /stream HTTP/1.1\r\nHost: a.example\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	var got []byte
	buffer := make([]byte, 4096)
	for !containsAll(string(got), "200 OK", "line 1\n", "line 2\n", "line 3\n") {
		count, err := conn.Read(buffer)
		require.NoError(t, err)
		got = append(got, buffer[:count]...)
	}
	require.NoError(t, conn.Close())

	short := *client
	short.Timeout = 200 * time.Millisecond
	response := short.Get(t.Context(), "a.example", "/hold")
	require.Equal(t, lab.TimedOut, response.Outcome)
	require.Equal(t, http.StatusOK, response.Status, "the answer has begun")
}

func TestCloseEndsEverything(t *testing.T) {
	n, err := lab.NewInternet(t.TempDir(), lab.Site{Hosts: []string{"a.example"}})
	require.NoError(t, err)
	conn, err := direct(n, "a.example").Open(t.Context(), "a.example", lab.Idle)
	require.NoError(t, err)
	require.NoError(t, n.Close())
	<-conn.Ended()
	_, err = net.Dial("tcp", n.Origin("a.example").Address().String())
	require.Error(t, err)
}

func TestNewInternetRefuses(t *testing.T) {
	_, err := lab.NewInternet(t.TempDir())
	require.ErrorContains(t, err, "no sites")
	_, err = lab.NewInternet(t.TempDir(), lab.Site{Hosts: []string{"a.example"}}, lab.Site{Name: "nameless"})
	require.ErrorContains(t, err, `start the server "nameless"`)
}

func TestTwoInternetsAtOnce(t *testing.T) {
	one := internet(t, lab.Wikipedia()...)
	two := internet(t, lab.Wikipedia()...)
	require.NotEqual(t, one.Port(), two.Port())
	client := direct(one, "en.wikipedia.org")
	client.Roots = two.Root.Pool()
	response := client.Get(t.Context(), "en.wikipedia.org", "/")
	require.Equal(t, lab.Untrusted, response.Outcome)
	require.ErrorAs(t, response.Err, &x509.UnknownAuthorityError{})
}
