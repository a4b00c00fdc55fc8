package guard_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/guard"
)

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		addr          string
		allow, refuse []netip.Prefix
		allowPrivate  bool
		by            string // empty: dialled
	}{
		// Ordinary addresses, some right beside a refused range.
		{addr: "8.8.8.8"},
		{addr: "1.0.0.0"},
		{addr: "100.63.255.255"},
		{addr: "100.128.0.0"},
		{addr: "172.15.255.255"},
		{addr: "172.32.0.0"},
		{addr: "192.0.1.0"},
		{addr: "198.17.255.255"},
		{addr: "198.20.0.0"},
		{addr: "223.255.255.255"},
		{addr: "2606:4700::1111"},
		{addr: "2001:200::1"},
		{addr: "2003::1"},
		{addr: "4000::1"},

		{addr: "0.0.0.0", by: "0.0.0.0/8"},
		{addr: "10.255.255.255", by: "10.0.0.0/8"},
		{addr: "100.64.0.1", by: "100.64.0.0/10"},
		{addr: "127.0.0.53", by: "127.0.0.0/8"},
		{addr: "169.254.1.1", by: "169.254.0.0/16"},
		{addr: "172.31.255.255", by: "172.16.0.0/12"},
		{addr: "192.0.0.9", by: "192.0.0.0/24"},
		{addr: "192.0.2.1", by: "192.0.2.0/24"},
		{addr: "192.88.99.1", by: "192.88.99.0/24"},
		{addr: "192.168.0.1", by: "192.168.0.0/16"},
		{addr: "198.19.0.1", by: "198.18.0.0/15"},
		{addr: "198.51.100.7", by: "198.51.100.0/24"},
		{addr: "203.0.113.7", by: "203.0.113.0/24"},
		{addr: "239.1.2.3", by: "224.0.0.0/4"},
		{addr: "255.255.255.255", by: "240.0.0.0/4"},
		{addr: "::", by: "::/128"},
		{addr: "::1", by: "::1/128"},
		{addr: "::7f00:1", by: "::/96"},
		{addr: "::ffff:8.8.8.8", by: "::ffff:0:0/96"},
		{addr: "64:ff9b::7f00:1", by: "64:ff9b::/96"},
		{addr: "64:ff9b:1::7f00:1", by: "64:ff9b:1::/48"},
		{addr: "100::1", by: "100::/64"},
		{addr: "2001::1", by: "2001::/23"},
		{addr: "2001:20::1", by: "2001::/23"},
		{addr: "2001:db8::1", by: "2001:db8::/32"},
		{addr: "2002:7f00:1::1", by: "2002::/16"},
		{addr: "3fff::1", by: "3fff::/20"},
		{addr: "5f00::1", by: "5f00::/16"},
		{addr: "fd12::1", by: "fc00::/7"},
		{addr: "fe80::1%eth0", by: "fe80::/10"},
		{addr: "fec0::1", by: "fec0::/10"},
		{addr: "ff02::1", by: "ff00::/8"},

		// privateAddresses: Allow lifts private networks and nothing else.
		{addr: "10.0.0.1", allowPrivate: true},
		{addr: "100.64.0.1", allowPrivate: true},
		{addr: "172.16.0.1", allowPrivate: true},
		{addr: "192.168.0.1", allowPrivate: true},
		{addr: "fd12::1", allowPrivate: true},
		{addr: "127.0.0.1", allowPrivate: true, by: "127.0.0.0/8"},
		{addr: "169.254.1.1", allowPrivate: true, by: "169.254.0.0/16"},
		{addr: "::1", allowPrivate: true, by: "::1/128"},
		{addr: "::ffff:10.0.0.1", allowPrivate: true, by: "::ffff:0:0/96"},
		{addr: "fe80::1", allowPrivate: true, by: "fe80::/10"},
		{addr: "224.0.0.1", allowPrivate: true, by: "224.0.0.0/4"},

		// Metadata: neither privateAddresses nor a wider range opens it.
		{addr: "169.254.169.254", by: "169.254.169.254/32"},
		{addr: "168.63.129.16", by: "168.63.129.16/32"},
		{addr: "192.0.0.192", by: "192.0.0.192/32"},
		{addr: "100.100.100.200", allowPrivate: true, by: "100.100.100.200/32"},
		{addr: "fd00:ec2::254", allowPrivate: true, by: "fd00:ec2::254/128"},
		{addr: "fd20:ce::254", allowPrivate: true, by: "fd20:ce::254/128"},
		{addr: "169.254.169.254", allow: prefixes("169.254.0.0/16", "0.0.0.0/0"), by: "169.254.169.254/32"},
		{addr: "169.254.169.254", allow: prefixes("169.254.169.254/31"), by: "169.254.169.254/32"},
		{addr: "169.254.169.254", allow: prefixes("169.254.169.254/32")},
		{addr: "fd00:ec2::254", allow: prefixes("fd00:ec2::254/128")},

		// The gateway's own ranges.
		{addr: "127.0.0.1", allow: prefixes("127.0.0.0/8")},
		{addr: "10.1.2.3", allow: prefixes("10.1.9.9/16")},
		{addr: "10.2.0.1", allow: prefixes("10.1.0.0/16"), by: "10.0.0.0/8"},
		{addr: "8.8.8.8", refuse: prefixes("8.8.8.0/24"), by: "8.8.8.0/24"},
		{addr: "10.1.2.3", allow: prefixes("10.1.2.3/32"), refuse: prefixes("10.0.0.0/8"), allowPrivate: true, by: "10.0.0.0/8"},
		{addr: "169.254.169.254", allow: prefixes("169.254.169.254/32"), refuse: prefixes("169.254.0.0/16"), by: "169.254.0.0/16"},
		{addr: "::ffff:10.1.2.3", allow: prefixes("10.0.0.0/8"), by: "::ffff:0:0/96"},
		{addr: "fe80::1%eth0", refuse: prefixes("fe80::/16"), by: "fe80::/16"},
		{addr: "fe80::1%eth0", allow: prefixes("fe80::/16")},
	} {
		t.Run(tc.addr, func(t *testing.T) {
			by, refused := guard.Classify(netip.MustParseAddr(tc.addr), tc.allow, tc.refuse, tc.allowPrivate)
			require.Equal(t, tc.by != "", refused, "%+v", by)
			if refused {
				require.Equal(t, netip.MustParsePrefix(tc.by), by.Prefix)
				require.NotEmpty(t, by.Name)
				require.NotEmpty(t, by.Source)
			}
		})
	}
}

func TestNoAddressIsRefused(t *testing.T) {
	_, refused := guard.Classify(netip.Addr{}, prefixes("0.0.0.0/0", "::/0"), nil, true)
	require.True(t, refused)
}

// The table is printed into Envoy resources, so it must be well-formed.
func TestTable(t *testing.T) {
	seen := map[netip.Prefix]bool{}
	for _, r := range append(guard.Ranges(), guard.Metadata()...) {
		require.Equal(t, r.Prefix.Masked(), r.Prefix, "host bits are set")
		require.False(t, seen[r.Prefix], "%s is there twice", r.Prefix)
		seen[r.Prefix] = true
		require.NotEmpty(t, r.Name)
		require.NotEmpty(t, r.Source)
	}
	for _, r := range guard.Metadata() {
		require.True(t, r.Prefix.IsSingleIP())
		require.False(t, r.Private)
	}
}

// Whatever the lists say: refuse wins, and without lists no special-purpose
// address that the standard library knows is dialled.
func TestClassifyProperties(t *testing.T) {
	starts := []string{"10.0.0.0", "127.0.0.0", "169.254.0.0", "172.16.0.0", "192.168.0.0", "224.0.0.0", "9.9.9.9",
		"::", "::ffff:0:0", "fd00::", "fe80::", "ff02::", "2606:4700::"}
	rapid.Check(t, func(t *rapid.T) {
		raw := netip.MustParseAddr(rapid.SampledFrom(starts).Draw(t, "start")).AsSlice()
		copy(raw[len(raw)-2:], rapid.SliceOfN(rapid.Byte(), 2, 2).Draw(t, "end"))
		addr, _ := netip.AddrFromSlice(raw)
		bits := rapid.IntRange(0, addr.BitLen()).Draw(t, "bits")
		containing := []netip.Prefix{netip.PrefixFrom(addr, bits)}

		_, refused := guard.Classify(addr, containing, containing, true)
		require.True(t, refused, "refuse wins over allow")

		_, refused = guard.Classify(addr, nil, nil, false)
		if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() ||
			addr.IsUnspecified() || addr.Is4In6() {
			require.True(t, refused)
		}
		if refused {
			_, refused = guard.Classify(addr, nil, nil, true)
			require.Equal(t, addr.IsPrivate(), !refused, "privateAddresses lifts private networks only")
		}
	})
}
