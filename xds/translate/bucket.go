package translate

import (
	"crypto/sha256"
	"fmt"

	"sallyport/pkg/hostname"
)

// bucketOf is the policy listener that decides about a pattern: one of 256, by
// a fixed hash, so that an edit re-sends one small listener whatever the size
// of the policy. Only buckets in use exist.
func bucketOf(p hostname.Pattern) string {
	sum := sha256.Sum256([]byte(p.String()))
	return fmt.Sprintf("%02x", sum[0])
}
