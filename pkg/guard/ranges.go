package guard

import "net/netip"

// Range is a range of addresses that a gateway refuses to dial.
type Range struct {
	Prefix netip.Prefix
	// Name says in a few words what lives there.
	Name string
	// Source is the document that reserves the range.
	Source string
	// Private marks the ranges that organisations number their own networks
	// with. They are the only ones that privateAddresses: Allow opens.
	Private bool
}

// Ranges are the built-in refused ranges: everything that is not an ordinary
// address of the public Internet. The caller owns the slice.
func Ranges() []Range {
	return []Range{
		reserved("0.0.0.0/8", "this network", "RFC 791 §3.2"),
		private("10.0.0.0/8", "private network", "RFC 1918 §3"),
		private("100.64.0.0/10", "shared by carrier-grade NAT", "RFC 6598 §7"),
		reserved("127.0.0.0/8", "loopback", "RFC 1122 §3.2.1.3"),
		reserved("169.254.0.0/16", "link-local", "RFC 3927 §2.1"),
		private("172.16.0.0/12", "private network", "RFC 1918 §3"),
		reserved("192.0.0.0/24", "IETF protocol assignments", "RFC 6890 §2.2.2"),
		reserved("192.0.2.0/24", "documentation, TEST-NET-1", "RFC 5737 §3"),
		reserved("192.88.99.0/24", "6to4 relay anycast, deprecated", "RFC 7526 §4"),
		private("192.168.0.0/16", "private network", "RFC 1918 §3"),
		reserved("198.18.0.0/15", "benchmarking", "RFC 2544 Appendix C.2.2"),
		reserved("198.51.100.0/24", "documentation, TEST-NET-2", "RFC 5737 §3"),
		reserved("203.0.113.0/24", "documentation, TEST-NET-3", "RFC 5737 §3"),
		reserved("224.0.0.0/4", "multicast", "RFC 5771 §3"),
		reserved("240.0.0.0/4", "reserved, and limited broadcast", "RFC 1112 §4, RFC 919 §7"),

		reserved("::/128", "unspecified", "RFC 4291 §2.5.2"),
		reserved("::1/128", "loopback", "RFC 4291 §2.5.3"),
		reserved("::/96", "IPv4-compatible, deprecated", "RFC 4291 §2.5.5.1"),
		reserved("::ffff:0:0/96", "IPv4-mapped", "RFC 4291 §2.5.5.2"),
		reserved("64:ff9b::/96", "NAT64, leads to any IPv4 address", "RFC 6052 §2.1"),
		reserved("64:ff9b:1::/48", "local NAT64, leads to any IPv4 address", "RFC 8215 §3"),
		reserved("100::/64", "discard", "RFC 6666 §4"),
		reserved("2001::/23", "IETF protocol assignments, Teredo and ORCHID among them", "RFC 2928 §2, RFC 4380, RFC 7343"),
		reserved("2001:db8::/32", "documentation", "RFC 3849 §2"),
		reserved("2002::/16", "6to4, leads to any IPv4 address", "RFC 3056 §2"),
		reserved("3fff::/20", "documentation", "RFC 9637 §3"),
		reserved("5f00::/16", "segment routing identifiers", "RFC 9602 §5"),
		private("fc00::/7", "unique local", "RFC 4193 §3.1"),
		reserved("fe80::/10", "link-local", "RFC 4291 §2.5.6"),
		reserved("fec0::/10", "site-local, deprecated", "RFC 3879 §4"),
		reserved("ff00::/8", "multicast", "RFC 4291 §2.7"),
	}
}

// Metadata are the addresses, one each, at which clouds hand credentials to
// whoever asks from inside. Those outside of the link-local ranges are why this
// list exists: a gateway that is given a private range must not open them with
// it. The caller owns the slice.
func Metadata() []Range {
	return []Range{
		metadata("169.254.169.254/32", "AWS, Azure, Google Cloud and others"),
		metadata("100.100.100.200/32", "Alibaba Cloud"),
		metadata("168.63.129.16/32", "Azure wire server"),
		metadata("192.0.0.192/32", "Oracle Cloud"),
		metadata("fd00:ec2::254/128", "AWS"),
		metadata("fd00:ec2::23/128", "AWS EKS Pod Identity"),
		metadata("fd20:ce::254/128", "Google Cloud"),
		metadata("fd00:42::42/128", "Scaleway"),
	}
}

func reserved(prefix, name, source string) Range {
	return Range{Prefix: netip.MustParsePrefix(prefix), Name: name, Source: source}
}

func private(prefix, name, source string) Range {
	return Range{Prefix: netip.MustParsePrefix(prefix), Name: name, Source: source, Private: true}
}

func metadata(prefix, cloud string) Range {
	return Range{Prefix: netip.MustParsePrefix(prefix), Name: "cloud metadata", Source: "documentation of " + cloud}
}
