// Package plain says numbers, times and sizes as people do. It is a leaf.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Plural is a number and its noun.
func Plural(n int, noun string) string {
	if n != 1 {
		if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(stem, "a") { // a policy, a gateway
			noun = stem + "ie"
		}
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// Millis is a number of milliseconds.
func Millis(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	if ms < 10_000 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return Span(time.Duration(ms * float64(time.Millisecond)))
}

// Ago is how long ago something was. Clocks differ: what is to come is now.
func Ago(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return Span(d) + " ago"
}

// Span is a duration as people say it, with one unit, or two where that matters.
func Span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
