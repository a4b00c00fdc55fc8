package syntax

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The grammar of SPIFFE IDs, from the SPIFFE-ID standard, section 2.
const (
	trustDomainForm = `[a-z0-9._-]+`
	segmentForm     = `[A-Za-z0-9._-]+`
	spiffePrefix    = "spiffe://"
	maxSPIFFEID     = 2048
	maxTrustDomain  = 255
)

// spiffeID is the full name of one workload.
func spiffeID() value[string] {
	pattern := `^spiffe://` + trustDomainForm + `(/` + segmentForm + `)+$`
	return word("a SPIFFE ID", jsonSchema{"pattern": pattern, "maxLength": maxSPIFFEID}, func(s string) (string, error) {
		if strings.HasSuffix(s, "*") {
			return "", fmt.Errorf("%q is not a SPIFFE ID: one workload must be named here, without *", s)
		}
		return s, checkSPIFFE(s, s)
	})
}

// principal is a SPIFFE ID, or with a trailing * all that start like it.
func principal() value[string] {
	pattern := `^spiffe://` + trustDomainForm + `((/` + segmentForm + `)+|(/` + segmentForm + `)*/([A-Za-z0-9._-]*)\*)$`
	return word("a SPIFFE ID", jsonSchema{"pattern": pattern, "maxLength": maxSPIFFEID}, func(s string) (string, error) {
		start, isPrefix := strings.CutSuffix(s, "*")
		if !isPrefix {
			return s, checkSPIFFE(s, s)
		}
		rest := strings.TrimPrefix(start, spiffePrefix)
		if !strings.HasPrefix(s, spiffePrefix) || !strings.Contains(rest, "/") {
			return "", fmt.Errorf("%q covers more than one trust domain: the * may stand after %sTRUST-DOMAIN/ only", s, spiffePrefix)
		}
		// What the * stands for may be anything, so the last segment may be
		// half there, or not at all.
		return s, checkSPIFFE(s, start+"x")
	})
}

// checkSPIFFE says what keeps a string from being the SPIFFE ID of a workload.
// A person wrote it as s.
func checkSPIFFE(s, id string) error {
	rest, ok := strings.CutPrefix(id, spiffePrefix)
	if !ok {
		return fmt.Errorf("%q is not a SPIFFE ID: it starts with %sTRUST-DOMAIN/", s, spiffePrefix)
	}
	if len(id) > maxSPIFFEID {
		return fmt.Errorf("this is not a SPIFFE ID: it is longer than %d bytes", maxSPIFFEID)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if err := checkTrustDomain(domain); err != nil {
		return fmt.Errorf("%q is not a SPIFFE ID: %w", s, err)
	}
	if !ok {
		return fmt.Errorf("%q is a trust domain, not a workload: add its path, as in %s%s/ns/NAMESPACE/sa/NAME", s, spiffePrefix, domain)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("%q is not a SPIFFE ID: a part of its path is %q", s, segment)
		}
		if strings.ContainsFunc(segment, func(c rune) bool { return !isSPIFFE(c) && (c < 'A' || c > 'Z') }) {
			return fmt.Errorf("%q is not a SPIFFE ID: the part %q of its path may only have letters, digits, and . _ -", s, segment)
		}
	}
	return nil
}

func checkTrustDomain(s string) error {
	switch {
	case s == "":
		return errors.New("the trust domain is missing")
	case len(s) > maxTrustDomain:
		return fmt.Errorf("the trust domain is longer than %d bytes", maxTrustDomain)
	case strings.ContainsFunc(s, func(c rune) bool { return !isSPIFFE(c) }):
		return fmt.Errorf("the trust domain %q may only have lower-case letters, digits, and . _ -", s)
	}
	return nil
}

func isSPIFFE(c rune) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || slices.Contains([]rune("._-"), c)
}

func trustDomain() value[string] {
	form := regexp.MustCompile(`^` + trustDomainForm + `$`)
	return word("a trust domain", jsonSchema{"pattern": form.String(), "maxLength": maxTrustDomain}, func(s string) (string, error) {
		if strings.HasPrefix(s, spiffePrefix) {
			return "", fmt.Errorf("%q is not a trust domain: write it without %s", s, spiffePrefix)
		}
		if err := checkTrustDomain(s); err != nil {
			return "", fmt.Errorf("%q is not a trust domain: %w", s, err)
		}
		return s, nil
	})
}
