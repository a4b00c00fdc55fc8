package ca_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
)

func TestParseID(t *testing.T) {
	for _, good := range []string{
		"spiffe://cluster.local/ns/default/sa/sleep-us",
		"spiffe://a/b",
		"spiffe://trust_domain-1.example/A.b_c-D",
	} {
		id, err := ca.ParseID(good)
		require.NoError(t, err)
		require.Equal(t, good, id.String())
	}
	for _, bad := range []string{
		"",
		"cluster.local/ns/default",
		"SPIFFE://cluster.local/x",
		"spiffe://cluster.local",
		"spiffe://cluster.local/",
		"spiffe:///ns/default",
		"spiffe://Cluster.Local/x",
		"spiffe://cluster.local:443/x",
		"spiffe://user@cluster.local/x",
		"spiffe://cluster.local/x/",
		"spiffe://cluster.local//x",
		"spiffe://cluster.local/../x",
		"spiffe://cluster.local/./x",
		"spiffe://cluster.local/x?y",
		"spiffe://cluster.local/x#y",
		"spiffe://cluster.local/%41",
		"spiffe://cluster.local/x\x00",
		"spiffe://cluster.local/é",
		"spiffe://" + strings.Repeat("a", 256) + "/x",
		"spiffe://a/" + strings.Repeat("a", 2048),
	} {
		_, err := ca.ParseID(bad)
		require.Error(t, err, "%q", bad)
	}
}
