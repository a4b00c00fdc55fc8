package e2e

import (
	"errors"
	"net"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// TestCurl: what a person at a terminal sees. curl's exit code 35 is "a problem
// occurred somewhere in the SSL/TLS handshake", the code in the documents that
// this scenario comes from (B).
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	require.NoError(t, err, "this test needs curl: apt-get install curl")
	r := newRig(t)
	runner := &demo.Runner{Stack: r.Stack, Log: r.log}
	require.NoError(t, runner.Prepare(demo.Scenarios()[1]))
	r.becomes(lab.Answered, us, de)

	get := func(host string) (string, int) {
		_, port, err := net.SplitHostPort(r.Workload(us).Proxy)
		require.NoError(t, err)
		out, err := exec.Command(curl, "--silent", "--max-time", "20", "--cacert", r.Internet.Root.CertificatePath(),
			"--connect-to", host+":443:127.0.0.1:"+port, "https://"+host+"/wiki/Main_Page").Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return string(out), exit.ExitCode()
		}
		require.NoError(t, err)
		return string(out), 0
	}
	for _, host := range []string{de, es} {
		page, code := get(host)
		require.Zero(t, code)
		require.Contains(t, page, "<title>"+lab.Title(host)+"</title>")
	}
	page, code := get(en)
	require.Equal(t, 35, code)
	require.Empty(t, page)
}
