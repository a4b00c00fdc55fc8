package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// spireRig is a rig whose Envoys all have their certificates from agents of
// SPIRE: one each, as an agent tells Envoys apart by their processes.
type spireRig struct {
	*rig
	agents map[string]*lab.SPIRE // by SPIFFE ID
}

// startSPIRE brings it up. Agents with alwaysSPIFFE have Envoys verify with the
// SPIFFE validator, though they ask for their own.
func startSPIRE(t *testing.T, alwaysSPIFFE bool) *spireRig {
	t.Helper()
	r := &spireRig{agents: make(map[string]*lab.SPIRE)}
	sockets, err := os.MkdirTemp("", "spire") // their paths must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	r.rig = rigWith(t, 3*time.Minute, func(o *demo.Options) {
		o.HTTP = true
		o.WayIn = envoy.Sessions // a handshake for every connection of the app: streams would go on in those that are open
		o.SPIRE = func(s *demo.Stack, id string) (envoy.SPIRE, error) {
			socket := filepath.Join(sockets, strings.NewReplacer("spiffe://", "", "/", ".").Replace(id)+".sock")
			if r.agents[id] != nil {
				return envoy.SPIRE{Socket: "unix://" + socket}, nil // the Envoy starts again
			}
			agent, err := lab.StartSPIRE(lab.SPIREOptions{Socket: socket, TrustDomain: demo.TrustDomain, AlwaysSPIFFE: alwaysSPIFFE})
			if err != nil {
				return envoy.SPIRE{}, err
			}
			t.Cleanup(agent.Stop)
			r.agents[id] = agent
			credential, err := s.CA.Issue(ca.Gateway(id))
			if err != nil {
				return envoy.SPIRE{}, err
			}
			agent.Issue(id, credential)
			agent.Trust(s.CA.CertificatePEM())
			return envoy.SPIRE{Socket: "unix://" + socket}, nil
		}
	})
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	return r
}

// TestSPIRE: gateway and workloads' proxies with certificates from SPIRE's SDS are
// as strict as those with certificates in files, in whichever of its two forms the
// agent gives the authorities.
func TestSPIRE(t *testing.T) {
	for form, alwaysSPIFFE := range map[string]bool{"as authorities": false, "for the SPIFFE validator": true} {
		t.Run(form, func(t *testing.T) {
			r := startSPIRE(t, alwaysSPIFFE)
			r.reaches(us, en)
			r.refused(us, de)
			r.refused(canada, en)
			require.Equal(t, lab.Answered, r.direct(demo.WorkloadID(us)).Get(r.ctx, en, "/").Outcome)
			require.Equal(t, demo.GatewayID, r.nodes()[0].Identity, "the control plane knows the gateway by it too")

			elsewhere := r.direct("")
			credential, err := r.CA.Issue(ca.Workload("spiffe://elsewhere/ns/default/sa/" + us))
			require.NoError(t, err)
			elsewhere.Certificate = credential.TLS()
			stranger := r.direct("")
			stranger.Certificate = otherAuthority(t, demo.WorkloadID(us))
			two := r.direct("")
			two.Certificate = twoIdentities(t, r.CA, demo.WorkloadID(us), demo.WorkloadID(canada))
			twoDomains := r.direct("")
			twoDomains.Certificate = twoIdentities(t, r.CA, "spiffe://elsewhere/x", demo.WorkloadID(us))
			odd := r.direct("")
			odd.Certificate = twoIdentities(t, r.CA, "spiffe://"+demo.TrustDomain+"/ns/default/sleep-us")
			for who, w := range map[string]*lab.Workload{
				"nobody": r.direct(""), "another trust domain's, of the same authority": elsewhere, "another authority's": stranger,
				"two identities": two, "two trust domains": twoDomains, "an identity of two readings": odd,
			} {
				require.Equal(t, lab.Refused, w.Get(r.ctx, en, "/").Outcome, who)
				proxied := &lab.Proxied{Workload: &lab.Workload{
					Gateway: r.HTTP.String(), GatewayID: demo.GatewayID, Trust: w.Trust, Roots: w.Roots, Certificate: w.Certificate,
				}}
				require.NotEqual(t, lab.Answered, proxied.Get(r.ctx, en, "/").Outcome, "%s, at the HTTP listener", who)
			}
			require.Equal(t, lab.Answered, r.proxied(demo.WorkloadID(us)).Get(r.ctx, en, "/").Outcome)
			for id, agent := range r.agents {
				require.Empty(t, agent.Rejections(), "%s", id)
			}
		})
	}
}

// TestSPIREAwayAtStart: a gateway whose agent is not there lets nothing through,
// and works within five seconds of the agent's coming; and one that is there goes
// away unnoticed (FAULTS 22, 26).
func TestSPIREAwayAtStart(t *testing.T) {
	r := startSPIRE(t, false)
	agent := r.agents[demo.GatewayID]
	conn := r.open(us, en, lab.Active)
	agent.Stop()
	time.Sleep(time.Second)
	r.alive(conn)
	r.reaches(us, en)

	require.NoError(t, r.Gateway.Kill())
	r.closedUntil(t, 20*time.Second, 250*time.Millisecond, func() lab.Outcome {
		return r.direct(demo.WorkloadID(us)).Get(r.ctx, en, "/").Outcome
	}, "its agent", agent.Restart)
}

// TestTurnsToSPIRE: an EgressGateway that turns to an agent which is not there
// closes nothing: the listeners with the certificates from before stay until it
// comes.
func TestTurnsToSPIRE(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	conn := r.open(us, en, lab.Active)
	socket := filepath.Join(t.TempDir(), "agent.sock")
	document := r.GatewayDocument()
	from, to := strings.Index(document, "    certificate:"), strings.Index(document, "    roots:")
	require.Positive(t, from)
	r.write("gateway.yaml", document[:from]+"    spire: {socket: \"unix://"+socket+"\"}\n"+document[to:])
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		r.alive(conn)
		r.reaches(us, en)
	}
	agent, err := lab.StartSPIRE(lab.SPIREOptions{Socket: socket, TrustDomain: demo.TrustDomain})
	require.NoError(t, err)
	t.Cleanup(agent.Stop)
	credential, err := r.CA.Issue(ca.Gateway(demo.GatewayID))
	require.NoError(t, err)
	agent.Issue(demo.GatewayID, credential)
	agent.Trust(r.CA.CertificatePEM())
	require.Eventually(t, func() bool {
		shown, err := r.entryShows()
		return err == nil && shown.Cmp(credential.Certificate.SerialNumber) == 0
	}, 5*time.Second, 20*time.Millisecond)
	r.reaches(us, en)
}
