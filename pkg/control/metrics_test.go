package control_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/xds/server"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	within := make([]uint64, len(server.Bounds()))
	within[len(within)-1] = 2
	var s control.Status
	s.Generation, s.PublishedAt = 7, time.UnixMilli(1_800_000_000_250)
	s.CertificateExpires = time.Unix(1_900_000_000, 0)
	s.Errors.Errorf(diag.Position{}, "x", "no")
	s.Warnings.Warnf(diag.Position{}, "x", "hm")
	s.Groups = []server.GroupStatus{{
		Name: "odd\"\\\n", Generation: 6, Nodes: 3, Current: 1, Rejecting: 1,
		Rollout: &server.RolloutStatus{State: server.RolloutWaits, Chosen: 2},
		Totals:  server.Totals{RolloutsStopped: 5, Acknowledged: 3, Rejected: 2, NACKs: 4, Seconds: 31.5, Within: within},
	}}
	s.Nodes = []server.NodeStatus{
		{ServedGroup: "odd\"\\\n", BehindMillis: 250, CertificateExpires: time.Unix(1_850_000_000, 0)},
		{ServedGroup: "odd\"\\\n", BehindMillis: 1500, CertificateExpires: time.Unix(1_840_000_000, 0)},
		{ServedGroup: "odd\"\\\n"}, {BehindMillis: 99999, CertificateExpires: time.Unix(1, 0)},
	}
	out := scraped(t, s)
	const group = `{group="odd\"\\\n"} `
	for _, line := range []string{
		"# TYPE sallyport_generation gauge", "sallyport_generation 7", "sallyport_published_timestamp_seconds 1.80000000025e+09",
		"sallyport_certificate_expiry_timestamp_seconds 1.9e+09", "sallyport_gateway_certificate_expiry_timestamp_seconds" + group + "1.84e+09",
		"sallyport_directory_errors 1", "sallyport_directory_warnings 1", "sallyport_group_generation" + group + "6",
		"sallyport_gateways" + group + "3", "sallyport_gateways_current" + group + "1", "sallyport_gateways_rejecting" + group + "1",
		"sallyport_behind_seconds" + group + "1.5", "sallyport_nacks_total" + group + "4", "sallyport_generations_rejected_total" + group + "2",
		"sallyport_rollout_in_progress" + group + "1", "sallyport_rollout_stopped" + group + "0",
		"sallyport_rollout_gateways_first" + group + "2", "sallyport_rollouts_stopped_total" + group + "5",
		`sallyport_edit_to_ack_seconds_bucket{group="odd\"\\\n",le="0.005"} 0`, `sallyport_edit_to_ack_seconds_bucket{group="odd\"\\\n",le="30"} 2`,
		`sallyport_edit_to_ack_seconds_bucket{group="odd\"\\\n",le="+Inf"} 3`, "sallyport_edit_to_ack_seconds_sum" + group + "31.5",
		"sallyport_edit_to_ack_seconds_count" + group + "3",
	} {
		require.Contains(t, out, line+"\n")
	}
	for _, ours := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes", "process_open_fds"} {
		require.Regexp(t, "(?m)^"+ours+` [1-9]`, out, "what the process itself takes")
	}

	s.Groups[0].Rollout.State = server.RolloutStopped
	out = scraped(t, s)
	require.Contains(t, out, "sallyport_rollout_in_progress"+group+"0\n")
	require.Contains(t, out, "sallyport_rollout_stopped"+group+"1\n")

	out = scraped(t, control.Status{})
	require.NotContains(t, out, "certificate")
	require.NotContains(t, out, "group=")
	require.Contains(t, out, "\nsallyport_generation 0\n")
}

// scraped is what Prometheus is given, which must be as it likes it.
func scraped(t *testing.T, s control.Status) string {
	t.Helper()
	w := httptest.NewRecorder()
	control.Metrics(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	require.Equal(t, 200, w.Code, w.Body)
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	return w.Body.String()
}
