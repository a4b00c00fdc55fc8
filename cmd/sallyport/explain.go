package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows"
	"sallyport/pkg/question"
	"sallyport/policy/model"
)

// asking is what `explain` is asked.
type asking struct {
	gateway, principal string
	way                model.Way
	// host is a name, or for HTTP requests HOST or HOST:PORT.
	host string
	// logged is the line of a log that the question is from, or nil: then the
	// host is what came from the network, and not what a person wrote.
	logged *flows.Asked
}

func newExplain() *cobra.Command {
	var dir string
	var q asking
	var anonymous bool
	via := &format{value: model.WayTLS.String(), allowed: words(model.Ways())}
	cmd := &cobra.Command{
		Use:   "explain --policies DIR ((--principal SPIFFE-ID | --anonymous) --host NAME | LOG-LINE | -)",
		Short: "Say whether a workload may reach a host, and why",
		Long: `Say whether a workload may reach a host, and show every step that leads to the
answer: the rule that decides with its file and line, the rules that do not and
why, and what the policies in mode Audit would change.

In place of a principal and a host it takes a line of a gateway's log, or of
` + "`sallyport flows`" + ` in either form, and says what the policy in the directory makes of
what was asked there; - reads the line from standard input.

The answer is the one that the gateways enforce: it is read from the same model
that their configuration is made of.

Exit code: 0 allowed, 3 refused, 1 the policy has errors, 2 wrong usage.`,
		Example: `  sallyport explain --policies examples/wikipedia \
    --principal spiffe://cluster.local/ns/default/sa/sleep-us --host fr.wikipedia.org
  # as logs show it, without spiffe://
  sallyport explain --policies examples/wikipedia \
    --principal cluster.local/ns/default/sa/sleep-us --host en.wikipedia.org
  # through the gateway's HTTP listener
  sallyport explain --policies policies --via CONNECT \
    --principal cluster.local/ns/default/sa/sleep-us --host en.wikipedia.org:443
  # the latest refusal in a log
  sallyport flows --policies policies --refused access.log | tail -n 1 |
    sallyport explain --policies policies -
  sallyport explain --policies examples/wikipedia --anonymous \
    --host en.wikipedia.org -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			asked := cmd.Flags().Changed("principal") || cmd.Flags().Changed("anonymous") || cmd.Flags().Changed("host")
			switch {
			case len(args) == 0 && !asked:
				return fmt.Errorf("what to explain is missing: --principal and --host, or a line of a log")
			case len(args) == 0:
				return nil
			case asked || cmd.Flags().Changed("via"):
				return fmt.Errorf("a line of a log says who asks for what, and how: --principal, --anonymous, --host and --via go without one")
			default:
				return one("a line of a log, in quotes")(cmd, args)
			}
		},
	}
	policiesFlag(cmd, &dir)
	flags := cmd.Flags()
	flags.StringVar(&q.principal, "principal", "", "SPIFFE ID of the workload, with or without spiffe://")
	flags.BoolVar(&anonymous, "anonymous", false, "ask for a workload without an identity")
	flags.StringVar(&q.host, "host", "", "host that the workload asks for; HOST:PORT for a request that names a port")
	flags.Var(via, "via", "how it asks: TLS of its own, an HTTP CONNECT and TLS inside, or a plain HTTP request")
	flags.StringVar(&q.gateway, "gateway", "", "name of the EgressGateway, if there are several")
	_ = cmd.RegisterFlagCompletionFunc("via", cobra.FixedCompletions(via.allowed, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("principal", "anonymous")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			if err := q.fromFlags(via.value, anonymous); err != nil {
				return err
			}
		}
		m, err := loadModel(dir)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			if err := q.fromLog(cmd.InOrStdin(), args[0], m); err != nil {
				return err
			}
		}
		g, err := pickGateway(m, q.gateway)
		if err != nil {
			return err
		}
		if q.way != model.WayTLS && !g.SpeaksHTTP() && q.logged == nil {
			return usage("--via %s: gateway %s has no listener of protocol HTTP, where one could ask so", q.way, g.Name)
		}
		return q.answer(cmd.OutOrStdout(), g, output.value == "json")
	})
	return cmd
}

// words are the words for values.
func words[T fmt.Stringer](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.String()
	}
	return out
}

// fromFlags checks what was asked with flags.
func (q *asking) fromFlags(via string, anonymous bool) error {
	if err := q.way.UnmarshalText([]byte(via)); err != nil {
		return usage("--via: %v", err)
	}
	if q.host == "" {
		return usage("--host is missing: the host that the workload asks for")
	}
	if q.principal == "" && !anonymous {
		return usage("whose access it is about is missing: --principal SPIFFE-ID, or --anonymous")
	}
	checked, err := question.Question{Principal: q.principal, Way: q.way, Host: q.host}.Check()
	var wrong *question.Error
	var port *question.PortError
	switch {
	case errors.As(err, &port):
		return usage("--host: with TLS no port is named: say %s, or --via CONNECT", port.Name)
	case errors.As(err, &wrong) && wrong.Part == question.Principal:
		return usage("--principal: %v; for a workload without an identity say --anonymous", err)
	case err != nil:
		return usage("--host: %v", err)
	}
	q.principal, q.host = checked.Principal, checked.Host
	return nil
}

// maxLogLine is the longest line of a log that is read from standard input.
const maxLogLine = 1 << 20

// fromLog reads the question out of a line, or out of the one line on standard
// input.
func (q *asking) fromLog(stdin io.Reader, line string, m *model.Model) error {
	if line == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, maxLogLine))
		if err != nil {
			return err
		}
		line = strings.TrimSpace(string(data))
		if strings.Contains(line, "\n") {
			return usage("there is more than one line on standard input: for a whole log there is `sallyport flows`")
		}
	}
	asked, err := flows.ReadAsked([]byte(line), m)
	if err != nil {
		return err
	}
	q.principal, q.way, q.host, q.logged = asked.Principal, asked.Way, asked.Host, &asked
	if q.gateway == "" {
		q.gateway = asked.Gateway
	}
	return nil
}

// explained is what `explain -o json` prints for a line of a log.
type explained struct {
	Logged flows.Asked `json:"logged"`
	// Now is what the policy in the directory says: a Trace or a RequestTrace.
	Now any `json:"now"`
}

// answer prints what the gateway says to the question.
func (q *asking) answer(w io.Writer, g *model.Gateway, asJSON bool) error {
	answer := question.Question{Principal: q.principal, Way: q.way, Host: q.host, Logged: q.logged != nil}.Ask(g)
	var trace interface{ Write(io.Writer) } = answer.Trace
	if answer.Request != nil {
		trace = answer.Request
	}
	switch {
	case asJSON && q.logged != nil:
		if err := writeJSON(w, explained{*q.logged, trace}); err != nil {
			return err
		}
	case asJSON:
		if err := writeJSON(w, trace); err != nil {
			return err
		}
	default:
		trace.Write(w)
		if q.logged != nil {
			if _, err := io.WriteString(w, "\n"+q.logged.Against(answer.Verdict, answer.Reason)+"\n"); err != nil {
				return err
			}
		}
	}
	if answer.Verdict != model.Allow {
		return silently(exitRefused)
	}
	return nil
}
