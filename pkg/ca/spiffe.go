package ca

import (
	"fmt"
	"net/url"
	"strings"
)

// maxID is the longest SPIFFE ID, and maxTrustDomain the longest trust domain,
// in bytes (SPIFFE-ID §2.1 and §2.3).
const (
	maxID          = 2048
	maxTrustDomain = 255
)

// ParseID checks that s is a SPIFFE ID of a workload, as SPIFFE-ID §2 spells
// them: spiffe://TRUST-DOMAIN/PATH, without port, user, query or fragment, the
// path neither empty nor ending in a slash, and without percent-encoding.
func ParseID(s string) (*url.URL, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return nil, fmt.Errorf("%q is not a SPIFFE ID: it must start with spiffe://", s)
	}
	if len(s) > maxID {
		return nil, fmt.Errorf("the SPIFFE ID is %d bytes long: %d is the most", len(s), maxID)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return nil, fmt.Errorf("%q names a trust domain only: a workload's ID has a path, for example "+
			"spiffe://cluster.local/ns/default/sa/web", s)
	}
	if domain == "" || len(domain) > maxTrustDomain || hasForeign(domain, lower+digits+"._-") {
		return nil, fmt.Errorf("%q is not a SPIFFE ID: the trust domain must be lower-case letters, digits, dots, "+
			"dashes and underscores", s)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || hasForeign(segment, lower+upper+digits+"._-") {
			return nil, fmt.Errorf("%q is not a SPIFFE ID: a segment of the path must be letters, digits, dots, "+
				"dashes and underscores, and neither empty nor only dots", s)
		}
	}
	return &url.URL{Scheme: "spiffe", Host: domain, Path: "/" + path}, nil
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// hasForeign reports whether s has a byte that is not among the allowed ones.
func hasForeign(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return true
		}
	}
	return false
}
