package lab_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

func startDNS(t *testing.T) *lab.DNS {
	t.Helper()
	server, err := lab.NewDNS()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return server
}

// ask returns the addresses and the response code.
func ask(t *testing.T, server *lab.DNS, network, name string, kind uint16) ([]string, int) {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: patience}
	message := new(dns.Msg)
	message.SetQuestion(dns.Fqdn(name), kind)
	response, _, err := client.Exchange(message, server.Address().String())
	require.NoError(t, err)
	var found []string
	for _, rr := range response.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			found = append(found, rr.A.String())
		case *dns.AAAA:
			found = append(found, rr.AAAA.String())
		}
	}
	return found, response.Rcode
}

func TestDNSAnswersWhatItWasTold(t *testing.T) {
	server := startDNS(t)
	server.Set("Two.example.", time.Minute, address("192.0.2.1"), address("192.0.2.2"), address("2001:db8::1"))
	server.Set("*.wild.example", time.Minute, address("192.0.2.3"))
	server.Set("own.wild.example", time.Minute)
	server.Set("mapped.example", time.Minute, address("::ffff:127.0.0.1"))
	for name, test := range map[string]struct {
		name  string
		kind  uint16
		want  []string
		rcode int
	}{
		"A":                   {"two.example", dns.TypeA, []string{"192.0.2.1", "192.0.2.2"}, dns.RcodeSuccess},
		"AAAA":                {"two.example", dns.TypeAAAA, []string{"2001:db8::1"}, dns.RcodeSuccess},
		"any case":            {"TWO.eXample", dns.TypeA, []string{"192.0.2.1", "192.0.2.2"}, dns.RcodeSuccess},
		"another type":        {"two.example", dns.TypeMX, nil, dns.RcodeSuccess},
		"wildcard":            {"a.b.wild.example", dns.TypeA, []string{"192.0.2.3"}, dns.RcodeSuccess},
		"not the parent":      {"wild.example", dns.TypeA, nil, dns.RcodeNameError},
		"own record, no data": {"own.wild.example", dns.TypeA, nil, dns.RcodeSuccess},
		"unknown":             {"example", dns.TypeA, nil, dns.RcodeNameError},
		"mapped is not an A":  {"mapped.example", dns.TypeA, nil, dns.RcodeSuccess},
		"mapped is IPv6":      {"mapped.example", dns.TypeAAAA, []string{"127.0.0.1"}, dns.RcodeSuccess},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" over "+network, func(t *testing.T) {
				found, rcode := ask(t, server, network, test.name, test.kind)
				require.Equal(t, test.want, found)
				require.Equal(t, test.rcode, rcode)
			})
		}
	}
}

func TestDNSChangesWhileItRuns(t *testing.T) {
	server := startDNS(t)
	_, rcode := ask(t, server, "udp", "a.example", dns.TypeA)
	require.Equal(t, dns.RcodeNameError, rcode)
	server.Set("a.example", time.Minute, address("192.0.2.1"))
	found, _ := ask(t, server, "udp", "a.example", dns.TypeA)
	require.Equal(t, []string{"192.0.2.1"}, found)
	server.Set("a.example", time.Minute, address("10.0.0.1"))
	found, _ = ask(t, server, "udp", "a.example", dns.TypeA)
	require.Equal(t, []string{"10.0.0.1"}, found)
	server.Remove("a.example")
	_, rcode = ask(t, server, "udp", "a.example", dns.TypeA)
	require.Equal(t, dns.RcodeNameError, rcode)
}

func TestDNSRemembersEveryQuery(t *testing.T) {
	server := startDNS(t)
	require.Empty(t, server.Queries(""))
	before := time.Now()
	ask(t, server, "udp", "A.example", dns.TypeA)
	ask(t, server, "tcp", "a.example", dns.TypeAAAA)
	ask(t, server, "udp", "b.example", dns.TypeA)
	queries := server.Queries("a.Example.")
	require.Len(t, queries, 2)
	require.Equal(t, "a.example", queries[0].Name)
	require.Equal(t, "A", queries[0].Type)
	require.Equal(t, "AAAA", queries[1].Type)
	require.False(t, queries[0].Time.Before(before))
	require.False(t, queries[1].Time.Before(queries[0].Time))
	require.Len(t, server.Queries(""), 3)
	require.Empty(t, server.Queries("c.example"))
	server.Forget()
	require.Empty(t, server.Queries(""))
}
