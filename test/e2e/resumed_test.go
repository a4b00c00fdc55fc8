package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// TestSessionsEndWithTheCertificate: a workload whose certificate has expired is not let
// in by a session that it got while it had not. TLS does not look at the certificate
// again when a session is resumed (RFC 8446 §2.2), so nobody's is, unless the listener
// allows it; and then that is what happens.
func TestSessionsEndWithTheCertificate(t *testing.T) {
	for resumption, allowed := range map[string]bool{"": false, ", sessionResumption: Allow": true} {
		t.Run(fmt.Sprintf("allowed %v", allowed), func(t *testing.T) {
			r := rigWith(t, 2*time.Minute, func(o *demo.Options) { o.HTTP = true })
			for _, protocol := range []string{"MutualTLS", "HTTP"} {
				require.Contains(t, r.GatewayDocument(), "protocol: "+protocol+"}")
			}
			r.write("gateway.yaml", strings.NewReplacer("protocol: MutualTLS}", "protocol: MutualTLS"+resumption+"}", "protocol: HTTP}", "protocol: HTTP"+resumption+"}").
				Replace(r.GatewayDocument()))
			r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
			r.write("us.yaml", allow("us", us, en))
			r.becomes(lab.Answered, us, en)
			credential, err := r.CA.Issue(ca.Request{ID: demo.WorkloadID(us), Lifetime: 6 * time.Second})
			require.NoError(t, err)

			entries := map[string][]byte{
				r.MutualTLS.String(): lab.Hello{ServerName: []byte(en)}.Bytes(),
				r.HTTP.String():      []byte("CONNECT " + en + ":443 HTTP/1.1\r\nHost: " + en + ":443\r\n\r\n"),
			}
			attempts := make(map[string]func() (answered, resumed bool))
			for entry, request := range entries {
				config := &tls.Config{
					MinVersion: tls.VersionTLS12, RootCAs: r.CA.Pool(), InsecureSkipVerify: true, // #nosec G402: the other direction is what is tried
					Certificates: []tls.Certificate{credential.TLS()}, ClientSessionCache: tls.NewLRUClientSessionCache(4),
				}
				attempts[entry] = func() (bool, bool) {
					conn, err := tls.Dial("tcp", entry, config)
					if err != nil {
						return false, false
					}
					resumed := conn.ConnectionState().DidResume
					return r.answers(conn, request), resumed
				}
			}
			for entry, attempt := range attempts {
				answered, _ := attempt()
				require.True(t, answered, entry)
				answered, resumed := attempt()
				require.True(t, answered, entry)
				require.Equal(t, allowed, resumed, entry)
			}
			time.Sleep(time.Until(credential.Certificate.NotAfter.Add(time.Second)))
			for entry, attempt := range attempts {
				answered, resumed := attempt()
				require.Equal(t, allowed, answered, entry)
				require.Equal(t, allowed, resumed, entry)
			}
		})
	}
}
