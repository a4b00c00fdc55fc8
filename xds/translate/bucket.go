package translate

import (
	"fmt"
	"strings"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"

	"sallyport/pkg/hostname"
)

// A bucket is a policy listener: it decides about the patterns whose texts have
// its number, of 1,024, so that an edit re-sends one small listener whatever the
// size of the policy. Only buckets in use exist.
//
// The number is made such that Envoy can find it too, with nothing but regular
// expressions on the server name. So the route stage need not list the names: a
// list of 10,000 took Envoy 130 ms to read, and a megabyte to each gateway, each
// time a host was added; what there is now does not change at all when the
// host's bucket exists.
//
// Each bit of the number is a parity: whether the characters of a set stand at
// an odd number of the even, or of the odd, offsets of the name. The sets are
// given by five bits for each character and kind of offset. They were chosen at
// random, and of sixty choices this one spread numbered hosts best: with 10,000,
// no bucket has more than 90, and of names made of words no more than 22.

const (
	// bucketBits are how many bits a bucket's number has: half of them are of the
	// even offsets, and come first.
	bucketBits = 10
	// bucketAlphabet are the characters of names, and bucketEven and bucketOdd
	// their codes, from '@' for none.
	bucketAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	bucketEven     = `GEYLIXOAQ^B_]UFKRVWC[PSTZ\OS]QBHJVUXXYK`
	bucketOdd      = `ZF]SGPNQC^\[UAWOJEBDLH_MKVHXEJFQ\WYO_\K`
)

// bucketNumber is the bucket of a name, or of a wildcard's text.
func bucketNumber(name string) int {
	var even, odd byte
	for i := 0; i < len(name); i++ {
		c := alphabetIndex(name[i])
		switch {
		case c < 0:
		case i%2 == 0:
			even ^= bucketEven[c] - '@'
		default:
			odd ^= bucketOdd[c] - '@'
		}
	}
	return int(even)<<(bucketBits/2) | int(odd)
}

// alphabetIndex is where a character stands in bucketAlphabet, or -1.
func alphabetIndex(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return int(c - 'a')
	case '0' <= c && c <= '9':
		return 26 + int(c-'0')
	default:
		return strings.IndexByte(bucketAlphabet, c)
	}
}

// bucketOf names the bucket that decides about a pattern.
func bucketOf(p hostname.Pattern) string { return bucketName(bucketNumber(p.String())) }

func bucketName(number int) string { return fmt.Sprintf("%03x", number) }

// bucketBit is the regular expression that matches the names whose bucket has a
// bit set, the first being the most significant. It reads characters in pairs: a
// pair that begins with one of the set changes the parity, another one does not.
func bucketBit(bit int) string {
	codes, skipped := bucketEven, ""
	if bit >= bucketBits/2 {
		codes, skipped = bucketOdd, "."
	}
	mask := byte(1) << (bucketBits/2 - 1 - bit%(bucketBits/2))
	var set strings.Builder
	for i := range codes {
		if (codes[i]-'@')&mask != 0 {
			set.WriteByte(bucketAlphabet[i])
		}
	}
	in, out := "["+ranges(set.String())+"]", "[^"+ranges(set.String())+"]"
	return skipped + fmt.Sprintf("(?:%[2]s.|%[1]s.(?:%[2]s.)*%[1]s.)*(?:%[1]s.(?:%[2]s.)*%[2]s?|%[1]s)", in, out)
}

// ranges is the inside of a character class: what stands in a row in the
// alphabet is a range. The hyphen must not be inside, and comes last.
func ranges(set string) string {
	var out strings.Builder
	for i := 0; i < len(set); {
		end := i + 1
		for isAlphanumeric(set[i]) && end < len(set) && set[end] == set[end-1]+1 {
			end++
		}
		switch run := set[i:end]; {
		case len(run) > 3:
			out.WriteString(run[:1] + "-" + run[len(run)-1:])
		case run != "-":
			out.WriteString(run)
		}
		i = end
	}
	if strings.Contains(set, "-") {
		out.WriteByte('-')
	}
	return out.String()
}

func isAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// byBucket sends a name to the bucket that has its number. A bucket that is not
// used may lead to one that is, where the name is looked for and not found.
func (b *builder) byBucket(used map[int]*xdsmatcher.Matcher_OnMatch, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher_OnMatch {
	if len(used) == 0 {
		return otherwise
	}
	input := b.serverName()
	bits := make([]*predicate, bucketBits)
	for i := range bits {
		bits[i] = has(input, regex(bucketBit(i)))
	}
	return choose(bits, used, 0, 0)
}

// choose is the decision about the bits from one on, given those before it; nil
// if no bucket is used there.
func choose(bits []*predicate, used map[int]*xdsmatcher.Matcher_OnMatch, bit, before int) *xdsmatcher.Matcher_OnMatch {
	if bit == len(bits) {
		return used[before]
	}
	clear, set := choose(bits, used, bit+1, before<<1), choose(bits, used, bit+1, before<<1|1)
	switch {
	case set == nil:
		return clear
	case clear == nil:
		return set
	default:
		return toMatcher(firstOf([]*xdsmatcher.Matcher_MatcherList_FieldMatcher{when(bits[bit], set)}, clear))
	}
}
