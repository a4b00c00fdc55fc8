package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/control"
)

// statusOptions are the flags of `sallyport status`.
type statusOptions struct {
	server     string
	client     clientFlags
	gateway    string
	wait       string
	waitDigest string
	policies   string
	timeout    time.Duration
	atLeast    int
	output     *format
}

func newStatus() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which gateway has which generation, or wait until all have one",
		Long: `Ask a running ` + "`serve`" + ` for its status: the generation in force and what is wrong in
the directory; for each group of gateways how long an edit took from being noticed
to the first and the last ACK; for each gateway how many generations it is behind,
for how long, and what it rejected last, with the file and line that came from.

With --wait it blocks until a generation, or a later one, is in force everywhere:
until every connected gateway of every group (or of --gateway) has acknowledged it.

  --wait 7                    generation 7. Generations count from the start of the
                              control plane, so this is for one that ` + "`status`" + ` showed.
  --wait latest               what its policy directory says now: it looks at once,
                              whether it has noticed the edit or not.
  --wait latest --policies DIR  what DIR says now, for a directory that reaches the
                              control plane by itself, through git or a ConfigMap.
  --wait-digest HEX           the directory with a digest, as ` + "`validate -o json`" + ` and
                              ` + "`status`" + ` show it.

While a generation is rolled out (spec.rollout) the others are waited for; a rollout
that is stopped ends the wait.

A gateway that goes away while it is waited for must come back and acknowledge. A
group without any gateway is waited for too, as nothing enforces the policy there;
--at-least says how many gateways each group must have, and 0 takes none for enough.

Exit codes: 0 it is in force; 1 the time is over, the directory is refused, or the
control plane cannot be reached; 2 wrong usage; 3 a gateway rejected it,
or its rollout is stopped.`,
		Example: `  sallyport status
  sallyport status --server http://127.0.0.1:8080 -o json | jq '.nodes[].behind'

  sallyport status --server https://control.example.com:8443 --token-file token

  # in a pipeline, after the edit
  sallyport status --wait latest --timeout 30s
  sallyport status --wait latest --policies policies --at-least 3 --gateway egress`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.server, "server", "http://127.0.0.1:8080", "the control plane's HTTP address, as in serve --http")
	o.client.add(cmd)
	flags.StringVar(&o.gateway, "gateway", "", "show, and wait for, this EgressGateway only")
	flags.StringVar(&o.wait, "wait", "", "wait for a generation: its number, or latest")
	flags.StringVar(&o.waitDigest, "wait-digest", "", "wait for the directory with this digest")
	flags.StringVar(&o.policies, "policies", "", "with --wait latest: wait for what this directory says")
	_ = cmd.MarkFlagDirname("policies")
	flags.DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait; 0 is for ever")
	flags.IntVar(&o.atLeast, "at-least", 1, "how many gateways each group must have")
	cmd.MarkFlagsMutuallyExclusive("wait", "wait-digest")
	cmd.MarkFlagsMutuallyExclusive("policies", "wait-digest")
	o.output = outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error { return status(cmd, o) })
	return cmd
}

func status(cmd *cobra.Command, o statusOptions) error {
	base, err := serverURL(o.server)
	if err != nil {
		return usage("--server: %v", err)
	}
	client, err := o.client.client(base.Host)
	if err != nil {
		return err
	}
	ask := &statusClient{base: base, http: client}
	target, err := o.target()
	if err != nil {
		return err
	}
	if target != nil {
		w := &waiting{
			ask: ask, target: target, gateway: o.gateway, atLeast: o.atLeast, timeout: o.timeout,
			progress: newProgressLine(cmd.ErrOrStderr()),
		}
		return w.run(cmd, o.output.value == "json")
	}
	got, err := ask.status(cmd.Context(), false)
	if err != nil {
		return err
	}
	if o.gateway != "" {
		if err := only(&got.Status, o.gateway); err != nil {
			return err
		}
	}
	if o.output.value == "json" {
		if o.gateway != "" {
			return writeJSON(cmd.OutOrStdout(), got.Status)
		}
		return writeJSON(cmd.OutOrStdout(), got.raw)
	}
	statusReport{w: cmd.OutOrStdout(), now: time.Now()}.write(got.Status)
	return nil
}

// target is what is to be waited for, nil for nothing.
func (o statusOptions) target() (target, error) {
	switch {
	case o.timeout < 0:
		return nil, usage("--timeout: %s is less than nothing", o.timeout)
	case o.atLeast < 0:
		return nil, usage("--at-least: %d is less than nothing", o.atLeast)
	case o.policies != "" && o.wait != "latest":
		return nil, usage("--policies is for --wait latest: that waits for what the directory says")
	case o.policies != "":
		return newDirectoryTarget(o.policies)
	case o.wait == "latest":
		return latestTarget{}, nil
	case o.wait != "":
		n, err := strconv.ParseUint(o.wait, 10, 64)
		if err != nil || n == 0 {
			return nil, usage("--wait: %q is neither the number of a generation, which is 1 or more, nor latest", o.wait)
		}
		return generationTarget(n), nil
	case o.waitDigest != "":
		return newDigestTarget(o.waitDigest)
	default:
		return nil, nil
	}
}

// serverURL reads --server: http://HOST:PORT, or HOST:PORT.
func serverURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%q is not the address of a control plane, as http://127.0.0.1:8080 is", s)
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/status")
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// only leaves one group and its gateways in a status.
func only(s *control.Status, gateway string) error {
	var names []string
	groups, nodes := s.Groups[:0:0], s.Nodes[:0:0]
	for _, g := range s.Groups {
		if names = append(names, g.Name); g.Name == gateway {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return usage("there is no EgressGateway %q: the control plane has %s", gateway, cmp.Or(strings.Join(names, ", "), "none"))
	}
	for _, n := range s.Nodes {
		if n.ServedGroup == gateway {
			nodes = append(nodes, n)
		}
	}
	s.Groups, s.Nodes = groups, nodes
	return nil
}

// answered is a status as it was answered.
type answered struct {
	control.Status
	raw json.RawMessage
}
