package doorkeeper

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// wrongTries is how many wrong tokens may come from an address in a row, and one more
	// each wrongEvery.
	wrongTries = 10
	wrongEvery = 6 * time.Second
	// maxSources bounds how many addresses are told apart.
	maxSources = 4096
	// ipv6Site is how much of an IPv6 address tells sites apart: whoever has one address
	// has all of the rest.
	ipv6Site = 64
)

// limitedError says that tokens from somewhere are not looked at for a while.
type limitedError struct{}

// Error says so.
func (*limitedError) Error() string { return "too many wrong tokens from there: wait" }

func (*limitedError) seconds() int { return int(wrongEvery / time.Second) }

// tries counts wrong tokens by where they are from. Right ones are not held up by others'
// wrong ones, unless they come from the same address.
type tries struct {
	now func() time.Time

	mu sync.Mutex
	by map[netip.Prefix]*rate.Limiter
	// rest is for those that are too many to tell apart.
	rest *rate.Limiter
}

// try calls right, unless there were too many wrong tries from an address. Wrong is told
// of one, and whether it was the last that is looked at.
func (t *tries) try(from string, right func() bool, wrong func(last bool)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	source := sourceOf(from)
	limit := t.by[source]
	if limit != nil && limit.TokensAt(now) < 1 {
		return &limitedError{}
	}
	if right() {
		return nil
	}
	if limit == nil {
		limit = t.add(source, now)
		if limit.TokensAt(now) < 1 {
			return &limitedError{}
		}
	}
	limit.AllowN(now, 1)
	wrong(limit.TokensAt(now) < 1)
	return errors.New("this is not the token")
}

// add begins to count for an address.
func (t *tries) add(source netip.Prefix, now time.Time) *rate.Limiter {
	if t.by == nil {
		t.by = make(map[netip.Prefix]*rate.Limiter)
		t.rest = rate.NewLimiter(rate.Every(wrongEvery), wrongTries)
	}
	if len(t.by) >= maxSources {
		for s, l := range t.by {
			if l.TokensAt(now) >= wrongTries {
				delete(t.by, s) // it has been forgiven
			}
		}
	}
	if len(t.by) >= maxSources {
		return t.rest
	}
	limit := rate.NewLimiter(rate.Every(wrongEvery), wrongTries)
	t.by[source] = limit
	return limit
}

// sourceOf is the address that a request is from, as far as it tells people apart.
func sourceOf(from string) netip.Prefix {
	at, err := netip.ParseAddrPort(from)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = ipv6Site
	}
	site, err := ip.Prefix(bits)
	if err != nil {
		panic(fmt.Sprintf("%s/%d: %v", ip, bits, err)) // it has so many bits
	}
	return site
}
