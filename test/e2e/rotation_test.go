package e2e

import (
	"bytes"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// entryShows is the serial number of the certificate that the gateway shows to
// workloads that connect now.
func (r *rig) entryShows() (*big.Int, error) {
	conn, err := r.direct(demo.WorkloadID(us)).Dial(r.ctx, en)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber, nil
}

// source is where a gateway has its certificate and the authorities from, as the
// tests of rotation see it: the same must hold for each.
type source struct {
	*rig
	// give gives the gateway a certificate and its key, or what is none; nil takes
	// the file away, or the registration with SPIRE.
	give func(certificate, key []byte)
	// trust gives it the authorities of workloads.
	trust func(bundle []byte)
}

// sources runs a test with the gateway's certificates in files, and from SPIRE.
func sources(t *testing.T, test func(t *testing.T, s source)) {
	t.Run("files", func(t *testing.T) {
		r := start(t, nil)
		r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
		r.write("us.yaml", allow("us", us, en))
		r.becomes(lab.Answered, us, en)
		files := r.Certificates("gateway")
		put := func(path string, content []byte) {
			if content != nil {
				require.NoError(t, ca.WriteFile(path, content))
				return
			}
			require.NoError(t, os.Remove(path))
			require.NoError(t, ca.WriteFile(path+".other", nil)) // so that Envoy looks
		}
		test(t, source{rig: r,
			give:  func(certificate, key []byte) { put(files.Certificate, certificate); put(files.Key, key) },
			trust: func(bundle []byte) { put(files.CA, bundle) },
		})
	})
	t.Run("SPIRE", func(t *testing.T) {
		r := startSPIRE(t, false)
		agent := r.agents[demo.GatewayID]
		test(t, source{rig: r.rig,
			give:  func(certificate, key []byte) { agent.Give(demo.GatewayID, certificate, key) },
			trust: agent.Trust,
		})
	})
}

// issue makes a certificate for the gateway.
func (s source) issue(lifetime time.Duration) *ca.Credential {
	s.t.Helper()
	credential, err := s.CA.Issue(ca.Request{ID: demo.GatewayID, Lifetime: lifetime})
	require.NoError(s.t, err)
	return credential
}

// shows waits until the gateway shows a certificate.
func (s source) shows(c *ca.Credential) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		shown, err := s.entryShows()
		return err == nil && shown.Cmp(c.Certificate.SerialNumber) == 0
	}, 5*time.Second, 10*time.Millisecond, "the new certificate is not shown")
}

// refusals counts what the gateway's Envoy refused to take over.
func (s source) refusals() uint64 {
	s.t.Helper()
	admin, err := s.Gateway.Admin(s.ctx)
	require.NoError(s.t, err)
	stats, err := admin.Stats(s.ctx, `^sds\..*\.(key_rotation_failed|update_rejected|update_failure)$`)
	require.NoError(s.t, err)
	require.NotEmpty(s.t, stats)
	var n uint64
	for _, v := range stats {
		n += v
	}
	return n
}

// open are connections of every kind, through the workload's proxy and without.
func (s source) openAll() []*lab.Conn {
	s.t.Helper()
	direct, err := s.direct(demo.WorkloadID(us)).Open(s.ctx, en, lab.Active)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = direct.Close() })
	return []*lab.Conn{direct, s.open(us, en, lab.Active), s.open(us, en, lab.Idle), s.open(us, en, lab.HalfOpen)}
}

// TestGatewayCertificateRotates: a new certificate is shown to whoever connects, and
// nothing that is open notices; one that cannot be used is refused, and the one from
// before stays, until there is one that can (FAULTS 26).
func TestGatewayCertificateRotates(t *testing.T) {
	sources(t, func(t *testing.T, s source) {
		open := s.openAll()
		good := s.issue(0)
		for range 3 {
			good = s.issue(0)
			s.give(good.CertificatePEM, good.KeyPEM)
			s.shows(good)
			s.alive(open...)
		}
		next := s.issue(0)
		for name, broken := range map[string]struct{ certificate, key []byte }{
			"a truncated certificate":       {next.CertificatePEM[:len(next.CertificatePEM)/2], next.KeyPEM},
			"a truncated key":               {next.CertificatePEM, next.KeyPEM[:len(next.KeyPEM)/2]},
			"another key":                   {next.CertificatePEM, good.KeyPEM},
			"an empty certificate":          {[]byte{}, next.KeyPEM},
			"an empty key":                  {next.CertificatePEM, []byte{}},
			"no certificate":                {nil, next.KeyPEM},
			"no key":                        {next.CertificatePEM, nil},
			"what is no PEM":                {bytes.Repeat([]byte("nonsense\n"), 100), next.KeyPEM},
			"a key where a certificate was": {next.KeyPEM, next.KeyPEM},
		} {
			t.Run(name, func(t *testing.T) {
				before := s.refusals()
				s.give(broken.certificate, broken.key)
				require.Eventually(t, func() bool { return s.refusals() > before }, 5*time.Second, 10*time.Millisecond, "Envoy does not say that it refused it")
				for range 20 {
					shown, err := s.entryShows()
					require.NoError(t, err)
					require.Equal(t, good.Certificate.SerialNumber, shown, "the one from before does not stay")
					time.Sleep(10 * time.Millisecond)
				}
				s.reaches(us, en)
				s.alive(open...)

				good = s.issue(0)
				s.give(good.CertificatePEM, good.KeyPEM)
				s.shows(good)
				s.alive(open...)
			})
		}
	})
}

// TestEnvoyCountsRefusedCertificates: under the names that docs/operations.md has.
// (What is measured here is the names; TestGatewayCertificateRotates has the refusals.)
func TestEnvoyCountsRefusedCertificates(t *testing.T) {
	sources(t, func(t *testing.T, s source) {
		admin, err := s.Gateway.Admin(s.ctx)
		require.NoError(t, err)
		text := func(filter string) string {
			body, err := admin.Get(s.ctx, "/stats/prometheus?filter="+filter)
			require.NoError(t, err)
			return string(body)
		}
		good := s.issue(0)
		s.give(good.CertificatePEM, good.KeyPEM[:len(good.KeyPEM)/2])
		require.Eventually(t, func() bool {
			return regexp.MustCompile(`(?m)^envoy_sds_(key_rotation_failed\{envoy_xds_resource_name="gateway"|update_rejected\{envoy_xds_resource_name="default")\} [1-9]`).MatchString(text("sds"))
		}, 5*time.Second, 20*time.Millisecond)
		require.Contains(t, text("sds"), "envoy_sds_update_failure{envoy_xds_resource_name=")
		require.Contains(t, text("days_until"), "envoy_server_days_until_first_cert_expiring{}")
	})
}

// TestGatewayCertificateExpires: Envoy takes over, and goes on to show, a certificate
// that has expired. Nobody accepts it: new connections fail, closed, and those that
// are open stay.
func TestGatewayCertificateExpires(t *testing.T) {
	sources(t, func(t *testing.T, s source) {
		const lifetime = 3 * time.Second
		brief := s.issue(lifetime)
		s.give(brief.CertificatePEM, brief.KeyPEM)
		s.shows(brief)
		admin, err := s.Gateway.Admin(s.ctx)
		require.NoError(t, err)
		stats, err := admin.Get(s.ctx, "/stats/prometheus?filter=expiration_unix_time_seconds")
		require.NoError(t, err)
		// What docs/operations.md has people watch.
		require.Regexp(t, fmt.Sprintf(`(?m)^envoy_listener_ssl_certificate_expiration_unix_time_seconds\{.*\} %d$`, brief.Certificate.NotAfter.Unix()), string(stats))
		open := s.openAll()
		time.Sleep(time.Until(brief.Certificate.NotAfter.Add(time.Second)))
		s.alive(open...)
		require.NotEqual(t, lab.Answered, s.Workload(us).Get(s.ctx, en, "/").Outcome, "the workload's proxy accepts it")
		_, err = s.entryShows()
		require.ErrorContains(t, err, "expired")

		fresh := s.issue(0)
		s.give(fresh.CertificatePEM, fresh.KeyPEM)
		s.shows(fresh)
		s.alive(open...)
		s.reaches(us, en)
	})
}

// TestWorkloadCertificateExpires: whose certificate expires is let in no more; what
// it has open stays open.
func TestWorkloadCertificateExpires(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	credential, err := r.CA.Issue(ca.Request{ID: demo.WorkloadID(us), Lifetime: 3 * time.Second})
	require.NoError(t, err)
	w := r.direct("")
	w.Certificate = credential.TLS()
	conn, err := w.Open(r.ctx, en, lab.Active)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	time.Sleep(time.Until(credential.Certificate.NotAfter.Add(time.Second)))
	require.Equal(t, lab.Refused, w.Get(r.ctx, en, "/").Outcome)
	r.alive(conn)
}

// TestAuthoritiesRotate: from the old authority, by way of both, to the new one.
// Who has a certificate of an authority that is trusted at the time is let in, and
// what is open stays, also of one that is trusted no more. A bundle that cannot be
// used is refused (FAULTS 26).
func TestAuthoritiesRotate(t *testing.T) {
	sources(t, func(t *testing.T, s source) {
		old := s.CA.CertificatePEM()
		authority, err := ca.Create(filepath.Join(t.TempDir(), "new"), ca.Options{})
		require.NoError(t, err)
		credential, err := authority.Issue(ca.Workload(demo.WorkloadID(us)))
		require.NoError(t, err)
		ofOld, ofNew := s.direct(demo.WorkloadID(us)), s.direct("")
		ofNew.Certificate = credential.TLS()
		becomes := func(oldIn, newIn lab.Outcome) {
			t.Helper()
			require.Eventually(t, func() bool {
				return ofOld.Get(s.ctx, en, "/").Outcome == oldIn && ofNew.Get(s.ctx, en, "/").Outcome == newIn
			}, 5*time.Second, 10*time.Millisecond, "of the old authority %v, of the new one %v", oldIn, newIn)
		}
		becomes(lab.Answered, lab.Refused)
		open := s.openAll()

		both := append(append([]byte(nil), old...), authority.CertificatePEM()...)
		s.trust(both)
		becomes(lab.Answered, lab.Answered)
		s.alive(open...)
		conn, err := ofNew.Open(s.ctx, en, lab.Active)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		open = append(open, conn)

		for name, broken := range map[string][]byte{
			"a truncated bundle": authority.CertificatePEM()[:len(authority.CertificatePEM())/2], "an empty one": {}, "none": nil, "no PEM": []byte("nonsense\n"),
		} {
			before := s.refusals()
			s.trust(broken)
			require.Eventually(t, func() bool { return s.refusals() > before }, 5*time.Second, 10*time.Millisecond, "%s: Envoy does not say that it refused it", name)
			for range 10 {
				becomes(lab.Answered, lab.Answered)
			}
			s.alive(open...)
			s.trust(both)
		}

		s.trust(authority.CertificatePEM())
		becomes(lab.Refused, lab.Answered)
		s.alive(open...)
	})
}

// TestGatewayStartsWithBrokenFiles: a gateway whose certificate cannot be used lets
// nothing in, and works when it is there.
func TestGatewayStartsWithBrokenFiles(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	conn := r.open(us, en, lab.Active)
	own := r.issued("for-workloads", demo.GatewayID)
	certificate, err := os.ReadFile(own.Certificate)
	require.NoError(t, err)
	document := r.GatewayDocument()
	files := r.Certificates("gateway")
	document = replaceOnce(t, document, "certificate: "+files.Certificate, "certificate: "+own.Certificate)
	r.write("gateway.yaml", replaceOnce(t, document, "key: "+files.Key, "key: "+own.Key))
	require.Eventually(t, func() bool {
		shown, err := r.entryShows()
		return err == nil && shown.Cmp(serial(t, own.Certificate)) == 0
	}, 10*time.Second, 20*time.Millisecond)
	r.alive(conn) // other files close nothing
	for name, content := range map[string][]byte{"truncated": certificate[:len(certificate)/2], "empty": {}, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, r.Gateway.Kill())
			if content == nil {
				require.NoError(t, os.Remove(own.Certificate))
			} else {
				require.NoError(t, ca.WriteFile(own.Certificate, content))
			}
			r.closedUntil(t, 3*time.Second, 50*time.Millisecond, func() lab.Outcome {
				return (&lab.Client{Proxy: r.MutualTLS.String(), Roots: r.Internet.Root.Pool()}).Get(r.ctx, en, "/").Outcome // plain
			}, "its certificate", func() error { return ca.WriteFile(own.Certificate, certificate) })
		})
	}
}

// closedUntil starts the gateway, which lacks something. It must let nobody in meanwhile,
// by way of the workload's proxy or another, and work within five seconds of the mending.
func (r *rig) closedUntil(t *testing.T, lasts, pause time.Duration, another func() lab.Outcome, lacks string, mend func() error) {
	t.Helper()
	started := make(chan error, 1)
	go func() { started <- r.StartGateway(r.ctx) }()
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(pause) {
		require.NotEqual(t, lab.Answered, another(), "another way")
		require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, en, "/").Outcome)
	}
	back := time.Now()
	require.NoError(t, mend())
	r.becomes(lab.Answered, us, en)
	t.Logf("the gateway works %v after %s is there", time.Since(back).Round(time.Millisecond), lacks)
	require.Less(t, time.Since(back), 5*time.Second)
	require.NoError(t, <-started)
}

// TestCertificateForControlPlaneEnds: a gateway whose certificate for the control plane
// is due to be replaced is made to connect again, warned about if it has no newer one,
// and in status and metrics. Nothing of that is felt, and nothing is sent again.
func TestCertificateForControlPlaneEnds(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	// It begins a minute ago, and so is due in two seconds, with a third to go.
	brief, err := r.CA.IssueFile("gateway", ca.Request{ID: demo.GatewayID, Lifetime: 33 * time.Second})
	require.NoError(t, err)
	require.NoError(t, r.Gateway.Kill())
	require.NoError(t, r.StartGateway(r.ctx))
	r.becomes(lab.Answered, us, en)
	open := r.open(us, en, lab.Active)
	before, connected := r.updates(), r.nodes()[0].ConnectedAt
	require.WithinDuration(t, brief.Certificate.NotAfter, r.nodes()[0].CertificateExpires, 0)
	require.False(t, r.nodes()[0].CertificateDue)

	again := func(within time.Duration) (due bool) {
		require.Eventually(t, func() bool {
			nodes := r.nodes()
			if len(nodes) == 1 && nodes[0].Current && nodes[0].ConnectedAt.After(connected) {
				connected, due = nodes[0].ConnectedAt, nodes[0].CertificateDue
				return true
			}
			return false
		}, within, 20*time.Millisecond, "the gateway does not connect again")
		return due
	}
	require.True(t, again(10*time.Second))
	require.Eventually(t, func() bool { return r.control.log.contain("expires soon, and has not been replaced") }, time.Second, 10*time.Millisecond)
	_, metrics := r.control.get(t, "/metrics")
	require.Contains(t, metrics, "sallyport_certificate_expiry_timestamp_seconds ")
	require.Contains(t, metrics, fmt.Sprintf("sallyport_gateway_certificate_expiry_timestamp_seconds{group=%q} %g\n", demo.Group, float64(brief.Certificate.NotAfter.Unix())))

	fresh, err := r.CA.IssueFile("gateway", ca.Gateway(demo.GatewayID))
	require.NoError(t, err)
	require.False(t, again(time.Until(brief.Certificate.NotAfter)+5*time.Second), "at its end at the latest the newer one is shown")
	require.WithinDuration(t, fresh.Certificate.NotAfter, r.nodes()[0].CertificateExpires, 0)
	require.Equal(t, before, r.updates(), "it was sent something")
	r.alive(open)
	r.reaches(us, en)
}

func replaceOnce(t *testing.T, in, what, by string) string {
	t.Helper()
	require.Equal(t, 1, bytes.Count([]byte(in), []byte(what)), fmt.Sprintf("%q in %s", what, in))
	return string(bytes.Replace([]byte(in), []byte(what), []byte(by), 1))
}
