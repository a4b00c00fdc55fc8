package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// statusTimeout is how long one answer may take.
	statusTimeout = 20 * time.Second
	// statusSize bounds an answer, in bytes: ten thousand gateways are some 30 MB.
	statusSize = 256 << 20
)

// statusClient asks a control plane for its status.
type statusClient struct {
	base *url.URL
	http http.Client
}

// status fetches it. With look the control plane looks at its directory first.
func (c *statusClient) status(ctx context.Context, look bool) (out answered, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	u := *c.base
	u.Path += "/status"
	if look {
		u.RawQuery = "look"
	}
	answer, err := ask(ctx, &c.http, u.String(), u.String())
	if none := (*noAnswerError)(nil); errors.As(err, &none) {
		return out, fmt.Errorf("no control plane answers at %s: %w (is `sallyport serve` running, with this --http?)", c.base, none.err)
	}
	if err != nil {
		return out, err
	}
	defer func() { _ = answer.Close() }() // nothing is lost by that
	body, err := io.ReadAll(io.LimitReader(answer, statusSize))
	if err != nil {
		return out, fmt.Errorf("%s: %w", &u, err)
	}
	if err := json.Unmarshal(body, &out.Status); err != nil {
		return out, fmt.Errorf("%s is not the status of a control plane: %w", &u, err)
	}
	out.raw = body
	return out, nil
}
