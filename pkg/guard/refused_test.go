package guard_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/guard"
)

// Envoy is given Refused, people are told Classify: they must be one decision.
func TestRefusedIsClassify(t *testing.T) {
	near := []string{"10.0.0.0", "10.1.2.0", "127.0.0.0", "127.0.1.0", "169.254.169.254", "100.64.0.0", "172.31.255.0", "224.0.0.0",
		"9.9.9.9", "168.63.129.16", "::", "::1", "::ffff:10.0.0.1", "fd00:ec2::254", "fe80::1", "2001:db8::", "2606:4700::1", "255.255.255.255"}
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		raw := netip.MustParseAddr(rapid.SampledFrom(near).Draw(t, "near")).AsSlice()
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "byte")
		raw[i] ^= rapid.SampledFrom([]byte{0, 1, 2, 0x80, 0xff}).Draw(t, "flip")
		a, _ := netip.AddrFromSlice(raw)
		return a
	})
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := address.Draw(t, "address")
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
	})
	lists := rapid.SliceOfN(prefix, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		allow, refuse := lists.Draw(t, "allow"), lists.Draw(t, "refuse")
		private := rapid.Bool().Draw(t, "private")
		refused := guard.Refused(allow, refuse, private)
		for _, a := range rapid.SliceOfN(address, 1, 50).Draw(t, "addresses") {
			_, want := guard.Classify(a, allow, refuse, private)
			got := slices.ContainsFunc(refused, func(p netip.Prefix) bool { return p.Contains(a) })
			if got != want {
				t.Fatalf("%s: Refused %v, Classify %v", a, got, want)
			}
		}
	})
}

func TestRefusedIsShort(t *testing.T) {
	refused := guard.Refused(nil, nil, false)
	require.Len(t, refused, 28)
	for i, p := range refused {
		require.Equal(t, p.Masked(), p)
		for _, q := range refused[i+1:] {
			require.False(t, p.Overlaps(q), "%s and %s", p, q)
		}
	}
}
