package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// refusalSize is how much of an answer other than 200 is read, in bytes: its first line
// is shown.
const refusalSize = 4096

// noAnswerError says that nobody answered.
type noAnswerError struct {
	name string
	err  error
}

// Error names who was asked.
func (e *noAnswerError) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }

// Unwrap is why.
func (e *noAnswerError) Unwrap() error { return e.err }

// ask gets what is at an address, which errors call by a name, and returns the body of
// an answer 200. A noAnswerError says that none came.
func ask(ctx context.Context, client *http.Client, address, name string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, &noAnswerError{name, err}
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer func() { _ = response.Body.Close() }()                      // nothing is lost by that
	body, _ := io.ReadAll(io.LimitReader(response.Body, refusalSize)) // the status says it, too
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return nil, fmt.Errorf("%s answers %s: %.200q", name, response.Status, line)
}
