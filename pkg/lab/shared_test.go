package lab_test

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// TestSharedInternet has every site at one address, known by the server name.
func TestSharedInternet(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.9:0")
	internet, err := lab.NewSharedInternet(t.TempDir(), at, at, lab.Wikipedia()...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, internet.Close()) })
	require.Equal(t, at.Addr(), internet.DNS.Address().Addr())
	web := internet.Origins()[0].Address()
	for _, host := range []string{"en.wikipedia.org", "www.google.com"} {
		for _, network := range []string{"udp", "tcp"} {
			found, rcode := ask(t, internet.DNS, network, host, dns.TypeA)
			require.Equal(t, dns.RcodeSuccess, rcode)
			require.Equal(t, []string{"127.0.0.9"}, found)
		}
		client := &lab.Client{Proxy: web.String(), Roots: internet.Root.Pool()}
		page := client.Get(t.Context(), host, "/")
		require.NoError(t, page.Err)
		require.Equal(t, lab.Title(host), page.Title)
	}
	_, rcode := ask(t, internet.DNS, "udp", "nobody.example", dns.TypeA)
	require.Equal(t, dns.RcodeNameError, rcode)

	_, err = lab.NewSharedInternet(t.TempDir(), at, web, lab.Wikipedia()...)
	require.ErrorContains(t, err, "address already in use")
	_, err = lab.NewSharedInternet(t.TempDir(), at, at)
	require.ErrorContains(t, err, "there are no sites")
}
