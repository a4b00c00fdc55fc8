package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
	"sallyport/policy/model"
)

const (
	// enforceWithin is how long an edit may take to be enforced.
	enforceWithin = 5 * time.Second
	// closeWithin is how long a revoked connection may stay open.
	closeWithin = 2 * time.Second
)

// Result is what became of a step.
type Result struct {
	Scenario Scenario
	Step     Step
	// Asked, Expected and Happened are for a person.
	Asked, Expected, Happened string
	// Flow is the gateway's line about it, if the step was an attempt.
	Flow *flows.Flow
	// Took is how long the attempt, or an edit's enforcement, took.
	Took time.Duration
	// Err is nil if it happened as expected.
	Err error
}

// Runner runs scenarios on a stack.
type Runner struct {
	Stack *Stack
	Log   *FlowLog
	// Report is called after every step.
	Report func(Result)
	// Settle waits until the gateway has a scenario's policy; nil leaves that to
	// the first attempt.
	Settle func(ctx context.Context) error

	held map[string][]*lab.Conn
	// edited is the last edit; unseen until an attempt has seen it enforced.
	edited time.Time
	unseen bool
}

// Run runs the scenario. The error says which steps differed.
func (r *Runner) Run(ctx context.Context, sc Scenario) error {
	r.held = make(map[string][]*lab.Conn)
	defer r.release()
	if err := r.Prepare(sc); err != nil {
		return err
	}
	var errs []error
	r.edit() // the policy itself is the first edit
	if r.Settle != nil {
		if err := r.Settle(ctx); err != nil {
			return err
		}
	}
	for i, step := range sc.Steps {
		result := r.step(ctx, sc, step)
		if result.Err != nil {
			errs = append(errs, fmt.Errorf("scenario %s, step %d (%s): %w", sc.Name, i+1, result.Asked, result.Err))
		}
		r.Report(result)
	}
	return errors.Join(errs...)
}

// Prepare puts a scenario's policy into force, in place of what is there.
func (r *Runner) Prepare(sc Scenario) error {
	files := sc.Policy(r.Stack)
	old, err := os.ReadDir(r.Stack.Policies)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := r.Stack.Write(name, content); err != nil {
			return err
		}
	}
	for _, f := range old {
		if _, keep := files[f.Name()]; !keep && f.Name() != "gateway.yaml" {
			if err := r.Stack.Remove(f.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runner) edit() { r.edited, r.unseen = time.Now(), true }

func (r *Runner) step(ctx context.Context, sc Scenario, step Step) Result {
	result := Result{Scenario: sc, Step: step}
	switch {
	case step.Edit != nil:
		file, content := step.Edit(r.Stack)
		r.edit()
		result.Asked, result.Expected, result.Happened = "edit "+file+": "+step.Says, "saved", "saved"
		if content == "" {
			result.Err = r.Stack.Remove(file)
		} else {
			result.Err = r.Stack.Write(file, content)
		}
	case step.Hold != nil:
		r.hold(ctx, step, &result)
	case step.Closed != nil || step.Kept != nil:
		r.look(ctx, step, &result)
	default:
		r.attempt(ctx, step, &result)
	}
	return result
}

// attempt connects. After an edit it tries until the edit is seen, and reports
// how long that took; otherwise the first attempt counts.
func (r *Runner) attempt(ctx context.Context, step Step, result *Result) {
	who := step.Who
	if who == "" {
		who = "an app without a certificate"
	}
	result.Asked = who + " → " + step.Host
	if step.Via != model.WayTLS {
		result.Asked += " via " + step.Via.String()
	}
	result.Expected = "refused (" + step.Reason + ")"
	if step.Reaches != "" {
		result.Expected = "200 from " + step.Reaches
	}
	for {
		began := time.Now()
		mark, before := r.Log.Mark(), r.traces(step.Host)
		response := r.get(ctx, step)
		ended := time.Now()
		result.Took = ended.Sub(began)
		if r.unseen {
			result.Took = ended.Sub(r.edited)
		}
		result.Happened = happened(response)
		result.Err = judge(step, response)
		if result.Err == nil && step.Reaches == "" {
			if after := r.traces(step.Host); after != before {
				result.Err = fmt.Errorf("it left traces: %+v, before it %+v", after, before)
			}
		}
		if result.Err == nil {
			r.explain(ctx, mark, began, step, result)
		}
		if result.Err == nil {
			r.unseen = false
			return
		}
		if !r.unseen || time.Since(r.edited) > enforceWithin || ctx.Err() != nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *Runner) get(ctx context.Context, step Step) lab.Response {
	if step.Via != model.WayTLS {
		app, err := r.Stack.ProxyUser(step.Who)
		switch {
		case err != nil:
			return lab.Response{Err: err}
		case step.Via == model.WayConnect:
			return app.Get(ctx, step.Host, "/")
		default:
			return app.Plain(ctx, step.Host, "/")
		}
	}
	if step.Who != "" {
		return r.Stack.Workload(step.Who).Get(ctx, step.Host, "/")
	}
	nobody := &lab.Workload{
		Gateway: r.Stack.MutualTLS.String(), GatewayID: GatewayID,
		Trust: r.Stack.CA.Pool(), Roots: r.Stack.Internet.Root.Pool(),
	}
	return nobody.Get(ctx, step.Host, "/")
}

// happened is the outcome in a few words.
func happened(got lab.Response) string {
	switch {
	case got.Outcome == lab.Answered:
		return fmt.Sprintf("%d from %s: %s", got.Status, got.Server, got.Title)
	case got.Outcome == lab.Refused && got.Status != 0:
		return fmt.Sprintf("refused: %d", got.Status)
	case got.Outcome == lab.Refused && errors.Is(got.Err, syscall.ECONNRESET):
		return "refused: connection reset"
	case got.Outcome == lab.Refused:
		return "refused: connection closed"
	default:
		return got.String()
	}
}

// traces is what a connection would leave behind on the internet.
type traces struct {
	queries  int
	accepted int64
}

func (r *Runner) traces(host string) traces {
	return traces{queries: len(r.Stack.Internet.DNS.Queries(host)), accepted: r.Stack.Internet.Accepted()}
}

func judge(step Step, got lab.Response) error {
	if step.Reaches == "" {
		if got.Outcome != lab.Refused && !(step.Who == "" && got.Outcome != lab.Answered) {
			return fmt.Errorf("it was not refused: %s", got)
		}
		return nil
	}
	if got.Outcome != lab.Answered || got.Status != 200 {
		return fmt.Errorf("it did not get through: %s", got)
	}
	if got.Server != step.Reaches || got.ServerName != step.Host || got.Title != lab.Title(step.Host) {
		return fmt.Errorf("%s answered as %s: %q", got.Server, got.ServerName, got.Title)
	}
	return nil
}

// explain waits for the gateway's line and compares what it says.
func (r *Runner) explain(ctx context.Context, mark int, began time.Time, step Step, result *Result) {
	flow, err := r.Log.Wait(ctx, mark, func(f flows.Flow) bool {
		if f.Time.Before(began.Truncate(time.Microsecond)) {
			return false // of an earlier attempt: lines come a moment late
		}
		return f.RequestedServerName == step.Host || step.Who == "" && f.Reason == flows.TLSHandshake
	})
	switch {
	case err != nil:
		result.Err = errors.Join(result.Err, err)
		return
	case flow.Refused() == (step.Reaches != ""), step.Reason != "" && string(flow.Reason) != step.Reason, step.Rule != "" && flow.Rule != step.Rule:
		result.Err = errors.Join(result.Err, fmt.Errorf("the log says %s, %s, %s", flow.Verdict, flow.Reason, flow.Rule))
	case flow.Rule != "" && (flow.File == "" || flow.Line == 0):
		result.Err = errors.Join(result.Err, fmt.Errorf("the log does not say where %s is written", flow.Rule))
	}
	result.Flow = &flow
}

// hold opens long-lived connections.
func (r *Runner) hold(ctx context.Context, step Step, result *Result) {
	result.Asked = fmt.Sprintf("%s opens connections to %s: %v", step.Who, step.Host, step.Hold)
	result.Expected, result.Happened = "open", "open"
	began := time.Now()
	for _, mode := range step.Hold {
		conn, err := r.Stack.Workload(step.Who).Open(ctx, step.Host, mode)
		if err != nil {
			result.Err, result.Happened = err, err.Error()
			return
		}
		r.held[step.Host] = append(r.held[step.Host], conn)
	}
	result.Took = time.Since(began)
}

// look checks which held connections an edit closed.
func (r *Runner) look(ctx context.Context, step Step, result *Result) {
	result.Asked = "connections that were open"
	result.Expected = expectation(step)
	result.Happened = result.Expected
	for _, host := range step.Closed {
		for _, c := range r.held[host] {
			select {
			case <-c.Ended():
			case <-time.After(time.Until(r.edited.Add(closeWithin))):
				result.Err = errors.Join(result.Err, fmt.Errorf("a connection to %s (%s) is still open", host, c.Mode()))
			}
		}
		result.Took = max(result.Took, time.Since(r.edited))
	}
	for _, host := range step.Kept {
		for _, c := range r.held[host] {
			if err := stillOpen(ctx, c); err != nil {
				result.Err = errors.Join(result.Err, fmt.Errorf("a connection to %s (%s) was lost: %w", host, c.Mode(), err))
			}
		}
	}
	if result.Err != nil {
		result.Happened = result.Err.Error()
	}
}

func expectation(step Step) string {
	var out string
	if len(step.Closed) > 0 {
		out = fmt.Sprintf("%v: closed", step.Closed)
	}
	if len(step.Kept) > 0 {
		if out != "" {
			out += ", "
		}
		out += fmt.Sprintf("%v: open", step.Kept)
	}
	return out
}

func stillOpen(ctx context.Context, c *lab.Conn) error {
	if c.Mode() == lab.Idle {
		_, err := c.End()
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.Alive(ctx)
}

func (r *Runner) release() {
	for _, conns := range r.held {
		for _, c := range slices.Backward(conns) {
			_ = c.Close() // it may have been revoked
		}
	}
}
