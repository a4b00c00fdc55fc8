package translate

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The regular expressions find the number that the function computes.
func TestBucketBits(t *testing.T) {
	bits := make([]*regexp.Regexp, bucketBits)
	for i := range bits {
		bits[i] = regexp.MustCompile("^(?:" + bucketBit(i) + ")$")
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9._-]{1,40}`).Draw(t, "name")
		n := 0
		for _, bit := range bits {
			n <<= 1
			if bit.MatchString(name) {
				n |= 1
			}
		}
		require.Equal(t, bucketNumber(name), n)
	})
}

// A name's bucket never changes: were it another one in the next version, every
// connection would be closed at the update.
func TestBucketsAreFixed(t *testing.T) {
	for name, bucket := range map[string]string{
		"en.wikipedia.org": "0fd", "*.wikipedia.org": "301", "api-12.example.com": "2a8", "api-21.example.com": "375",
		"xn--mnchen-3ya.de": "26c", "a_b.example": "1d4", "*": "000",
	} {
		require.Equal(t, bucket, bucketName(bucketNumber(name)), name)
	}
}

// No bucket has very many of the names that companies give: numbered ones are the
// worst, since much of them is the same.
func TestBucketsAreEven(t *testing.T) {
	for format, most := range map[string]int{
		"api-%d.partner.example.com": 100, "host%d.internal.example": 100, "bucket-%x.s3.eu-west-1.amazonaws.com": 100,
	} {
		count := make(map[int]int)
		for i := range 10_000 {
			count[bucketNumber(fmt.Sprintf(format, i))]++
		}
		for bucket, n := range count {
			require.LessOrEqual(t, n, most, "%s in %s", format, bucketName(bucket))
		}
		require.Greater(t, len(count), 1<<bucketBits*3/4, format)
	}
}
