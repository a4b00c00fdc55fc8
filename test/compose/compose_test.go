package compose_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// TestDemoStack is the whole round with the demo stack. Its parts follow each other.
func TestDemoStack(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	e := startEngine(t)
	e.baseImages(t, root)
	s := newStack(t, e, root)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.compose("logs", "--no-color", "--tail=20")
			t.Log(out)
		}
	})
	for _, part := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"up", s.testUp},
		{"containers are confined", s.testConfined},
		{"verdicts", s.testVerdicts},
		{"there is no other way out", s.testNoOtherWay},
		{"the log names the line", s.testLog},
		{"flows of both replicas", s.testFlowsOfBoth},
		{"the page", s.testPage},
		{"an edit is enforced", s.testEdit},
		{"a broken edit is refused", s.testBrokenEdit},
		{"new certificates", s.testCertificates},
		{"without one control plane", s.testControlPlaneKilled},
		{"without one gateway", s.testGatewayKilled},
		{"a crash is restarted", s.testCrash},
		{"README", s.testReadme},
		{"learn, suggest, enforce", s.testLearn},
		{"monitoring", s.testMonitoring},
		{"down leaves nothing", s.testDown},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			outer := s.t
			s.t = t
			defer func() { s.t = outer }()
			part.do(t)
		}) {
			return // what follows stands on it
		}
	}
}

func (s *stack) testUp(*testing.T) {
	s.mustCompose("config", "--quiet")
	s.mustCompose("build") // apart, so that its time can be seen
	begun := time.Now()
	s.mustCompose("up", "--detach")
	s.t.Logf("up after %s", time.Since(begun).Round(100*time.Millisecond))
	s.healthy()
	s.t.Logf("healthy after %s", time.Since(begun).Round(100*time.Millisecond))
	s.eventually("both gateways at the control planes", func() string {
		if n := len(s.nodes()["control-plane-1"]) + len(s.nodes()["control-plane-2"]); n != 2 {
			return fmt.Sprintf("%d gateways are connected", n)
		}
		return ""
	})
}

// nodes are the gateways at each control plane that runs.
func (s *stack) nodes() map[string][]string {
	out := make(map[string][]string)
	for _, name := range []string{"control-plane-1", "control-plane-2"} {
		text, err := s.exec(name, "sallyport", "status", "-o", "json")
		if err != nil {
			continue // it does not run
		}
		var status struct{ Nodes []struct{ ID string } }
		require.NoError(s.t, json.Unmarshal([]byte(text), &status), "%s", text)
		for _, n := range status.Nodes {
			out[name] = append(out[name], n.ID)
		}
	}
	return out
}

// testConfined asks the engine, and the kernel.
func (s *stack) testConfined(t *testing.T) {
	containers := s.containers()
	require.Len(t, containers, 11)
	for name, c := range containers {
		require.True(t, c.HostConfig.ReadonlyRootfs, name)
		require.False(t, c.HostConfig.Privileged, name)
		require.Empty(t, c.HostConfig.CapAdd, name)
		require.Equal(t, []string{"ALL"}, c.HostConfig.CapDrop, name)
		require.Equal(t, []string{"no-new-privileges:true"}, c.HostConfig.SecurityOpt, name)
		require.Positive(t, c.HostConfig.Memory, name)
		require.Positive(t, c.HostConfig.PidsLimit, name)
		if name == "ca" {
			require.Equal(t, "no", c.HostConfig.RestartPolicy.Name)
			continue
		}
		require.Equal(t, "unless-stopped", c.HostConfig.RestartPolicy.Name, name)
		require.Equal(t, !regexp.MustCompile(`^(flows|sleep-us|sleep-canada)$`).MatchString(name), c.State.Health != nil, name)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.State.Pid))
		require.NoError(t, err)
		require.Regexp(t, `(?m)^Uid:\s+(6553[24])\s+(6553[24])\s`, string(status), name)
		require.Regexp(t, `(?m)^CapEff:\s+0+$`, string(status), name)
		require.Regexp(t, `(?m)^CapBnd:\s+0+$`, string(status), name)
		require.Regexp(t, `(?m)^NoNewPrivs:\s+1$`, string(status), name)
		require.Regexp(t, `(?m)^Seccomp:\s+2$`, string(status), name)
	}
	out, err := s.exec("sleep-us", "touch", "/x")
	require.Error(t, err)
	require.Contains(t, out, "Read-only file system")
	// A workload sees what it must trust, and no key: not even its own proxy's.
	out, err = s.exec("sleep-us", "cat", "/internet/internet/ca.key")
	require.Error(t, err)
	require.Contains(t, out, "Permission denied")
	out, err = s.exec("sleep-us", "sh", "-c", "ls /etc/sallyport /certs/*/*")
	require.Error(t, err, "%s", out)
}

func (s *stack) testVerdicts(t *testing.T) {
	allowed := map[string][]string{
		"sleep-us":     {"en.wikipedia.org", "es.wikipedia.org"},
		"sleep-canada": {"en.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org"},
	}
	for workload, hosts := range allowed {
		for _, host := range []string{"en.wikipedia.org", "de.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org", "www.google.com"} {
			out, err := s.curl(workload, host)
			if strings.Contains(strings.Join(hosts, " "), host) {
				require.NoError(t, err, "%s to %s: %s", workload, host, out)
				require.Contains(t, out, "<title>"+lab.Title(host)+"</title>")
			} else {
				require.Error(t, err, "%s to %s: %s", workload, host, out)
				require.Contains(t, out, "curl: (35)")
			}
		}
	}
	// The same with an HTTP client's own means, for any name.
	out, err := s.exec("sleep-canada", "curl", "-sS", "-x", "http://127.0.0.1:15001", "https://fr.wikipedia.org/")
	require.NoError(t, err, out)
	out, err = s.exec("sleep-canada", "curl", "-sS", "-x", "http://127.0.0.1:15001", "https://de.wikipedia.org/")
	require.Error(t, err)
	require.Contains(t, out, "response 403")
}

// testNoOtherWay tries to go past the gateways.
func (s *stack) testNoOtherWay(t *testing.T) {
	const internet = "172.30.53.53"
	direct := []string{"curl", "-sS", "-m", "2", "--connect-to", "::" + internet, "https://en.wikipedia.org/"}
	for _, service := range []string{"sleep-us", "sleep-canada"} {
		out, err := s.exec(service, direct...)
		require.Error(t, err, "%s: %s", service, out)
		require.Regexp(t, `curl: \((7|28)\)`, out)
		_, err = s.exec(service, "curl", "-sS", "-m", "2", "http://control-plane:8080/status")
		require.Error(t, err, "%s reaches the control plane", service)
	}
	// From where it may be reached, it is.
	_, err := s.exec("gateway-1", "bash", "-c", "echo > /dev/tcp/"+internet+"/443")
	require.NoError(t, err)
}

func (s *stack) testLog(t *testing.T) {
	content, err := os.ReadFile(s.policies())
	require.NoError(t, err)
	line := 1 + strings.Count(string(content[:strings.Index(string(content), "- action: Deny")]), "\n")
	want := regexp.MustCompile(fmt.Sprintf(`Deny +cluster.local/ns/default/sa/sleep-us → de.wikipedia.org(:443)? .*deny-rule .* at wikipedia.yaml:%d\b`, line))
	s.eventually("the refusal in the log, as "+want.String(), func() string {
		out := s.mustCompose("logs", "--no-color", "flows")
		if want.MatchString(out) {
			return ""
		}
		return out
	})
}

// testPage looks at the pages of both replicas as somebody at the machine does: the
// refusals are at the one that the gateway is connected to, with a link to their line.
func (s *stack) testPage(t *testing.T) {
	refusal := regexp.MustCompile(`(?s)sleep-us.*de\.wikipedia\.org.*href="/ui/policies/[^"]*wikipedia\.yaml[^"]*#L\d+"`)
	s.eventually("the refusal on a page, as "+refusal.String(), func() string {
		var pages string
		for _, port := range []string{"8080", "8081"} {
			out, err := s.try(exec.CommandContext(t.Context(), "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", s.pid),
				"curl", "-sS", "--fail", "http://127.0.0.1:"+port+"/ui/flows?verdict=Deny"))
			if err != nil {
				return out
			}
			pages += out
		}
		if refusal.MatchString(pages) {
			return ""
		}
		return pages
	})
}

// testEdit measures, from outside, how long it is from an edit on the host to the end
// of the first request that is treated by it: curl's own time counts, too.
func (s *stack) testEdit(t *testing.T) {
	var fastest time.Duration
	for round, change := range [][2]string{
		{"action: Deny", "action: Allow"}, {"to: [{hosts: [de.", "to: [{hosts: [fr."}, {"hosts: [fr.wikipedia.org]}]\n  # A", "hosts: [de.wikipedia.org]}]\n  # A"},
	} {
		allowed := round != 1
		took := s.until("sleep-us", "de.wikipedia.org", allowed, func() { s.edit(change[0], change[1]) })
		t.Logf("edit %d (de.wikipedia.org, allowed: %v) answered so after %s", round+1, allowed, took.Round(time.Millisecond))
		if round == 0 || took < fastest {
			fastest = took
		}
	}
	// inotify through the mount: rescanning alone would take longer than that each time.
	require.Less(t, fastest, time.Second)
	s.edit("- action: Allow\n    to: [{hosts: [de", "- action: Deny\n    to: [{hosts: [de")
	s.inForce(2)
}

// until edits while curl runs in a loop, and returns how long it took.
func (s *stack) until(service, host string, allowed bool, edit func()) time.Duration {
	s.t.Helper()
	loop := fmt.Sprintf(`while :; do curl -s -o /dev/null -m 10 https://%s/ && said=yes || said=no; echo $(date +%%s%%N) $said; done`, host)
	cmd := s.command("docker", "exec", s.containers()[service].ID, "timeout", "60", "sh", "-c", loop)
	out, err := cmd.StdoutPipe()
	require.NoError(s.t, err)
	require.NoError(s.t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	require.True(s.t, lines.Scan(), "the loop says nothing")
	edited := time.Now()
	edit()
	for lines.Scan() {
		at, verdict, _ := strings.Cut(lines.Text(), " ")
		nanoseconds, err := strconv.ParseInt(at, 10, 64)
		require.NoError(s.t, err)
		if (verdict == "yes") == allowed {
			return time.Unix(0, nanoseconds).Sub(edited)
		}
	}
	require.FailNow(s.t, "the edit is not enforced")
	return 0
}

// inForce waits until that many gateways have what the directory says.
func (s *stack) inForce(gateways int) {
	s.t.Helper()
	s.eventually("the edit in force", func() string {
		sum := 0
		var said string
		for _, name := range []string{"control-plane-1", "control-plane-2"} {
			if s.containers()[name].State.Status != "running" {
				continue
			}
			out, err := s.exec(name, "sallyport", "status", "--wait", "latest", "--at-least", "0", "--timeout", "20s", "-o", "json")
			if err != nil {
				return out
			}
			said += out
			sum += len(s.nodes()[name])
		}
		if sum < gateways {
			return fmt.Sprintf("%d gateways are connected: %s", sum, said)
		}
		return ""
	})
}

func (s *stack) testBrokenEdit(t *testing.T) {
	s.edit("kind: EgressPolicy", "kind: EgresPolicy")
	s.eventually("the error in the status", func() string {
		out, err := s.exec("control-plane-1", "sallyport", "status")
		if err == nil && strings.Contains(out, "wikipedia.yaml:3:7") {
			return ""
		}
		return out
	})
	out, err := s.curl("sleep-us", "en.wikipedia.org")
	require.NoError(t, err, out)
	s.edit("kind: EgresPolicy", "kind: EgressPolicy")
	s.inForce(2)
}

// testCertificates replaces all certificates while everything runs.
func (s *stack) testCertificates(t *testing.T) {
	presented := func() string {
		return s.docker("exec", s.containers()["gateway-1"].ID, "sha256sum", "/etc/sallyport/tls/tls.crt")
	}
	before := presented()
	s.mustCompose("run", "--rm", "ca")
	require.NotEqual(t, before, presented())
	for range 5 {
		out, err := s.curl("sleep-us", "en.wikipedia.org")
		require.NoError(t, err, out)
	}
}

// testControlPlaneKilled kills the control plane that gateways are connected to.
func (s *stack) testControlPlaneKilled(t *testing.T) {
	killed := "control-plane-1"
	if len(s.nodes()[killed]) == 0 {
		killed = "control-plane-2"
	}
	t.Logf("%s has %v", killed, s.nodes()[killed])
	s.docker("kill", s.containers()[killed].ID)
	begun := time.Now()
	out, err := s.curl("sleep-us", "en.wikipedia.org")
	require.NoError(t, err, out)
	s.inForce(2)
	t.Logf("both gateways are at the other one after %s", time.Since(begun).Round(100*time.Millisecond))
	s.edit("[en.wikipedia.org, es.wikipedia.org]", "[en.wikipedia.org]")
	s.inForce(2)
	for range 8 { // at either gateway
		_, err = s.curl("sleep-us", "es.wikipedia.org")
		require.Error(t, err)
	}
	s.edit("[en.wikipedia.org]}]\n", "[en.wikipedia.org, es.wikipedia.org]}]\n")
	s.inForce(2)
	for range 8 {
		out, err = s.curl("sleep-us", "es.wikipedia.org")
		require.NoError(t, err, out)
	}
	s.mustCompose("up", "--detach")
	s.healthy()
}

// testGatewayKilled kills each gateway once.
func (s *stack) testGatewayKilled(t *testing.T) {
	for _, killed := range []string{"gateway-1", "gateway-2"} {
		s.docker("kill", s.containers()[killed].ID)
		begun := time.Now()
		s.eventually("a page by way of the other gateway", func() string {
			out, err := s.curl("sleep-us", "en.wikipedia.org")
			if err == nil {
				return ""
			}
			return out
		})
		t.Logf("without %s: a page after %s", killed, time.Since(begun).Round(10*time.Millisecond))
		out, err := s.curl("sleep-us", "de.wikipedia.org")
		require.Error(t, err, out)
		s.mustCompose("up", "--detach")
		s.healthy()
	}
	s.inForce(2)
}

// testCrash ends a process of each kind, as a crash would.
func (s *stack) testCrash(t *testing.T) {
	for _, name := range []string{"control-plane-2", "gateway-1", "sleep-us-proxy"} {
		c := s.containers()[name]
		require.NoError(t, syscall.Kill(c.State.Pid, syscall.SIGKILL))
		s.eventually(name+" again", func() string {
			now := s.containers()[name]
			if now.RestartCount == c.RestartCount+1 && now.State.Health != nil && now.State.Health.Status == "healthy" {
				return ""
			}
			return now.State.Status
		})
	}
	s.inForce(2)
	out, err := s.curl("sleep-us", "en.wikipedia.org")
	require.NoError(t, err, out)
}

// testReadme runs what README says, line by line: what ends in "# refused" fails,
// all else does not.
func (s *stack) testReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(s.dir, "README.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```console\n(\\$ docker-compose up.*?)```").FindSubmatch(readme)
	require.NotNil(t, block, "README says nothing of docker-compose")
	ran := 0
	for line := range strings.Lines(string(block[1])) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok || strings.HasPrefix(text, "docker-compose down") {
			continue
		}
		// Grafana's image cannot be made from packages: see testMonitoring.
		text = strings.Replace(text, "prometheus grafana", "prometheus", 1)
		text, comment, _ := strings.Cut(text, "#")
		// Without a terminal, and without waiting for more of a log.
		text = strings.NewReplacer("docker-compose exec ", "docker-compose exec -T ", "logs -f", "logs").Replace(text)
		cmd := s.command("sh", "-c", text)
		cmd.Dir = s.dir
		out, err := s.try(cmd)
		require.Equal(t, strings.Contains(comment, "refused"), err != nil, "%s: %v\n%s", text, err, out)
		ran++
		if strings.Contains(text, "sed ") {
			s.inForce(2)
		}
	}
	require.Greater(t, ran, 5)
}

// testMonitoring has Prometheus see both replicas, and the dashboard and the alerts
// be about metrics that there are.
func (s *stack) testMonitoring(t *testing.T) {
	config := filepath.Join(s.dir, "examples", "monitoring", "prometheus.yaml")
	run(t, exec.CommandContext(t.Context(), "promtool", "check", "config", config))
	s.mustCompose("--profile", "monitoring", "up", "--detach", "prometheus")
	query := func(expression string) string {
		out, err := s.exec("prometheus", "curl", "-sS", "-G", "--data-urlencode", "query="+expression, "http://127.0.0.1:9090/api/v1/query")
		if err != nil {
			return ""
		}
		return out
	}
	s.eventually("both replicas and both gateways in Prometheus", func() string {
		up, gateways := query(`sum(up{job="sallyport"})`), query(`sum(sallyport_gateways_current)`)
		if strings.Contains(up, `"2"]`) && strings.Contains(gateways, `"2"]`) {
			return ""
		}
		return up + gateways
	})
	text, err := os.ReadFile(filepath.Join(s.dir, "examples", "monitoring", "grafana", "dashboards", "sallyport.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			require.Contains(t, query(target.Expr), `"status":"success"`, target.Expr)
		}
	}
	alerts, err := os.ReadFile(filepath.Join(filepath.Dir(config), "alerts.yaml"))
	require.NoError(t, err)
	for _, name := range regexp.MustCompile(`sallyport_\w+`).FindAllString(string(text)+string(alerts), -1) {
		require.NotContains(t, query(name), `"result":[]`, "there is no metric %s", name)
	}
}

func (s *stack) testDown(t *testing.T) {
	s.mustCompose("--profile", "monitoring", "down", "--volumes")
	require.Empty(t, s.docker("ps", "--all", "--quiet"))
	require.Empty(t, s.docker("volume", "ls", "--quiet"))
	require.Equal(t, "bridge host none", strings.Join(strings.Fields(s.docker("network", "ls", "--format", "{{.Name}}")), " "))
}
