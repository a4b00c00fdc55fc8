package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

// flowQuery asks a control plane, or the database of one, for flows.
type flowQuery struct {
	servers   []string
	client    clientFlags
	file      string
	since     string
	aggregate bool
	filter    store.Filter
}

// add adds the flags, and returns their names.
func (q *flowQuery) add(cmd *cobra.Command) []string {
	names := q.addSource(cmd)
	flags := cmd.Flags()
	flags.StringVar(&q.filter.Verdict, "verdict", "", "only with this verdict, Allow or Deny")
	flags.StringVar((*string)(&q.filter.Reason), "reason", "", "only for this reason, such as no-allow-rule")
	flags.IntVar(&q.filter.Limit, "limit", 0, "only the latest so many (1000)")
	flags.BoolVar(&q.aggregate, "aggregate", false, "what they come to, by principal and host")
	cmd.MarkFlagsMutuallyExclusive("aggregate", "follow")
	return append(names, "verdict", "reason", "limit", "aggregate")
}

// addSource adds the flags that say where flows are, and whose.
func (q *flowQuery) addSource(cmd *cobra.Command) []string {
	flags := cmd.Flags()
	flags.StringArrayVar(&q.servers, "server", []string{"http://127.0.0.1:8080"}, "the control plane's HTTP address, as in serve --http; of several replicas that of each")
	flags.StringVar(&q.file, "store", "", "read this database, as in serve --flow-store")
	flags.StringVar(&q.filter.Principal, "principal", "", "only of this SPIFFE ID; with a * at its end, all that begin so")
	flags.StringVar(&q.filter.Host, "host", "", "only to this host, or *.NAME for all below it")
	flags.StringVar(&q.filter.Group, "gateway", "", "only through the gateways of this EgressGateway")
	flags.StringVar(&q.since, "since", "", "only since then: 90m, 24h, or 2026-11-28T15:00:00Z")
	asking := q.client.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("server", "store")
	cmd.MarkFlagsMutuallyExclusive("token-file", "store")
	return append(asking, "server", "store", "principal", "host", "gateway", "since")
}

// run prints what was asked for.
func (q *flowQuery) run(cmd *cobra.Command, o flowsOptions) error {
	f := q.filter
	if o.refused {
		if f.Verdict != "" && f.Verdict != model.Deny.String() {
			return usage("--refused and --verdict %s leave nothing", f.Verdict)
		}
		f.Verdict = model.Deny.String()
	}
	if f.WouldBeRefused = o.wouldBeRefused; o.refused && o.wouldBeRefused {
		return usage("--refused and --would-be-refused leave nothing: what would be refused was let through")
	}
	if err := q.within(&f); err != nil {
		return err
	}
	source, err := q.source(o.follow, func(err error) { cmd.PrintErrf("sallyport: %v\n", err) })
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was only read
	if q.aggregate {
		all, err := source.aggregates(cmd.Context(), f)
		if err != nil {
			return err
		}
		return writeAggregates(cmd.OutOrStdout(), all, o.output.value)
	}
	p := flowPrinter{w: cmd.OutOrStdout(), form: o.output.value}
	err = source.flows(cmd.Context(), f, o.follow, p.print, func(missed uint64) {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "sallyport: %s came faster than they were read, and are left out\n", plural(int(missed), "flow"))
	})
	if errors.Is(err, context.Canceled) {
		return nil // that is how following ends
	}
	return err
}

// within sets since when the filter is, and checks it.
func (q *flowQuery) within(f *store.Filter) error {
	var err error
	if f.Since, err = sinceWhen(q.since, time.Now()); err != nil {
		return usage("--since: %v", err)
	}
	if _, err := store.FilterOf(f.Values()); err != nil {
		return usage("%v", err)
	}
	return nil
}

// sinceWhen is a time, or one that long ago.
func sinceWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days+"\n", "%d\n", &n); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time ago, such as 90m or 7d, nor a time, such as 2026-11-28T15:00:00Z", s)
	}
	return t, nil
}

// flowSource is where flows are.
type flowSource interface {
	flows(ctx context.Context, f store.Filter, follow bool, each func(flows.Flow) error, missed func(uint64)) error
	aggregates(ctx context.Context, f store.Filter) ([]store.Aggregate, error)
	io.Closer
}

func (q *flowQuery) source(follow bool, say func(error)) (flowSource, error) {
	if q.file != "" {
		if follow {
			return nil, usage("a database cannot be followed: ask the control plane that writes it, with --server")
		}
		s, err := store.OpenFile(q.file)
		return storeSource{s}, err
	}
	return sources(q.servers, &q.client, say)
}

type storeSource struct{ *store.Store }

func (s storeSource) flows(ctx context.Context, f store.Filter, _ bool, each func(flows.Flow) error, _ func(uint64)) error {
	all, err := s.Recent(ctx, f)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := each(e.Flow); err != nil {
			return err
		}
	}
	return nil
}

func (s storeSource) aggregates(ctx context.Context, f store.Filter) ([]store.Aggregate, error) {
	return s.Aggregates(ctx, f)
}

// httpSource is a running control plane.
type httpSource struct {
	base *url.URL
	http http.Client
}

func (s *httpSource) Close() error { return nil }

func (s *httpSource) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := *s.base
	u.Path += path
	u.RawQuery = query.Encode()
	body, err := ask(ctx, &s.http, u.String(), u.String())
	if none := (*noAnswerError)(nil); errors.As(err, &none) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("no control plane answers at %s: %w (is `sallyport serve` running, with this --http? --policies reads log files)", s.base, none.err)
	}
	return body, err
}

func (s *httpSource) flows(ctx context.Context, f store.Filter, follow bool, each func(flows.Flow) error, missed func(uint64)) error {
	query := f.Values()
	if follow {
		query.Set("follow", "")
	}
	body, err := s.get(ctx, "/flows", query)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // nothing is lost by that
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, flows.MaxLine)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var got struct {
			store.Missed
			flows.Flow
		}
		if err := json.Unmarshal(line, &got.Missed); err != nil {
			return fmt.Errorf("%s does not answer with flows: %w", s.base, err)
		}
		if got.Missed.Missed > 0 {
			missed(got.Missed.Missed)
			continue
		}
		if err := json.Unmarshal(line, &got.Flow); err != nil {
			return fmt.Errorf("%s does not answer with flows: %w", s.base, err)
		}
		if err := each(got.Flow); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if follow {
		return errors.New("the control plane has ended; what it kept is there when it is back")
	}
	return nil
}

func (s *httpSource) aggregates(ctx context.Context, f store.Filter) ([]store.Aggregate, error) {
	body, err := s.get(ctx, "/flows/aggregates", f.Values())
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // nothing is lost by that
	var out []store.Aggregate
	if err := json.NewDecoder(body).Decode(&out); err != nil {
		return nil, fmt.Errorf("%s does not answer with aggregates: %w", s.base, err)
	}
	return out, nil
}
