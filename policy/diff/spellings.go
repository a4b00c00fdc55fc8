package diff

import (
	"iter"

	"sallyport/pkg/hostname"
)

// spellings yields strings of the characters of host names, the short ones first,
// up to a length. Many of them are not labels of a host name.
func spellings(most int) iter.Seq[string] {
	const characters = spareSmall
	return func(yield func(string) bool) {
		for length := 1; length <= min(most, hostname.MaxLength); length++ {
			digits := make([]int, length)
			for {
				s := make([]byte, length)
				for i, d := range digits {
					s[i] = characters[d]
				}
				if !yield(string(s)) {
					return
				}
				i := length - 1
				for ; i >= 0; i-- {
					if digits[i]++; digits[i] < len(characters) {
						break
					}
					digits[i] = 0
				}
				if i < 0 {
					break
				}
			}
		}
	}
}
