package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/xds/server"
)

func TestPublishes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		require.False(t, p.Status().Ready)
		require.Nil(t, p.Model())

		first := good("1", gateway(t, "east", "a.example=x"), gateway(t, "west", "b.example=y"))
		first.Diagnostics.Warnf(diag.Position{File: "a.yaml", Line: 2, Column: 1}, "some-warning", "careful")
		p.becomes(first)
		require.Equal(t, uint64(1), p.served("east").Generation)
		require.Same(t, first.Model, p.Model())
		s := p.Status()
		require.True(t, s.Ready)
		require.Equal(t, uint64(1), s.Generation)
		require.Equal(t, 1, s.Files)
		require.Equal(t, 2, s.Gateways)
		require.Empty(t, s.Errors)
		require.Equal(t, first.Diagnostics, s.Warnings)
		require.Len(t, s.Groups, 2)

		var line *logrus.Entry
		for _, e := range p.logs.AllEntries() {
			if e.Level == logrus.InfoLevel {
				line = e
			}
		}
		require.Equal(t, "published a new generation", line.Message)
		require.Equal(t, 2, line.Data["hosts"])
		require.Equal(t, 2, line.Data["rules"])
		require.Equal(t, map[string]string{
			"east": "listeners +1 ~0 -0, clusters +1 ~0 -0, secrets +0 ~0 -0",
			"west": "listeners +1 ~0 -0, clusters +1 ~0 -0, secrets +0 ~0 -0",
		}, line.Data["changes"])
		require.Equal(t, []string{"careful"}, p.logged(logrus.WarnLevel))

		p.becomes(good("2", gateway(t, "east", "a.example=x"), gateway(t, "west", "b.example=y", "c.example=y")))
		require.Equal(t, uint64(1), p.served("east").Generation, "nothing changed for it")
		require.Equal(t, uint64(2), p.served("west").Generation)
		require.Equal(t, uint64(2), p.Status().Generation)
		require.Empty(t, p.Status().Warnings)
	})
}

func TestUnchangedFilesAreNotTouched(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		p.logs.Reset()
		for range 3 {
			p.rescan()
		}
		require.Equal(t, 4, p.looks())
		require.Empty(t, p.logs.AllEntries())
		require.Equal(t, uint64(1), p.Status().Generation)
	})
}

func TestCommentOnlyEditPublishesNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		before := p.Status()
		p.logs.Reset()
		edited := good("1 # comment", gateway(t, "east", "a.example=x"))
		p.becomes(edited)
		require.Equal(t, before.Generation, p.Status().Generation)
		require.Equal(t, before.PublishedAt, p.Status().PublishedAt)
		require.Equal(t, before.Groups, p.Status().Groups)
		require.NotEqual(t, before.Digest, p.Status().Digest)
		require.Same(t, edited.Model, p.Model(), "explanations name the lines as they are now")
		require.Empty(t, p.logged(logrus.InfoLevel))
	})
}

func TestBrokenDirectoryKeepsLastGood(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		before := p.served("east")
		p.logs.Reset()

		p.becomes(bad("2", "a comma is missing", "no such field"))
		require.Equal(t, before, p.served("east"))
		require.Equal(t, uint64(1), p.Status().Generation)
		require.True(t, p.Status().Ready)
		require.Equal(t, "policy.yaml:1:3: error: a comma is missing [some-code]", p.Status().Errors[0].String())
		var located []logrus.Fields
		for _, e := range p.logs.AllEntries() {
			if e.Data["code"] == "some-code" {
				located = append(located, e.Data)
			}
		}
		require.Equal(t, []logrus.Fields{
			{"code": "some-code", "file": "policy.yaml", "line": 1, "column": 3},
			{"code": "some-code", "file": "policy.yaml", "line": 2, "column": 3},
		}, located)
		require.Equal(t, []string{
			"a comma is missing", "no such field", "the policy directory is refused, and the last good policy stays in force",
		}, p.logged(logrus.ErrorLevel))

		p.rescan()
		require.Empty(t, p.logged(logrus.ErrorLevel), "known already")
		p.becomes(bad("3", "a comma is missing"))
		require.Len(t, p.logged(logrus.ErrorLevel), 2, "something else")

		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		require.Equal(t, before, p.served("east"))
		require.Empty(t, p.Status().Errors)
		require.Equal(t, []string{"the policy directory is good again, and in force"}, p.logged(logrus.InfoLevel))

		p.becomes(bad("2", "a comma is missing", "no such field"))
		require.Len(t, p.logged(logrus.ErrorLevel), 3, "it came back")
		p.becomes(good("4", gateway(t, "east", "b.example=x")))
		require.Equal(t, uint64(2), p.served("east").Generation)
		require.Equal(t, []string{"published a new generation", "the policy directory is good again, and in force"}, p.logged(logrus.InfoLevel))
	})
}

// Files that cannot be read are not part of the digest, so it alone does not
// say that nothing is new.
func TestSameDigestOtherErrors(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		p.becomes(bad("1", "b.yaml cannot be read"))
		require.Len(t, p.Status().Errors, 1)
		p.logs.Reset()
		p.becomes(bad("1", "c.yaml cannot be read"))
		require.Len(t, p.logged(logrus.ErrorLevel), 2)
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		require.Empty(t, p.Status().Errors)
	})
}

func TestEmptyDirectory(t *testing.T) {
	t.Parallel()
	empty := policy.Result{}
	empty.Diagnostics.Errorf(diag.Position{File: "."}, "no-gateway", "no document describes a group of gateways")
	gone := policy.Result{Diagnostics: slices.Clone(empty.Diagnostics)}
	gone.Diagnostics.Errorf(diag.Position{File: "."}, "unreadable", "no such directory")
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(empty)
		require.False(t, p.Status().Ready)
		require.Contains(t, p.Status().Reason, "policies has no policy files: is the volume mounted?")
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		before := p.served("east")
		p.becomes(empty)
		require.Equal(t, before, p.served("east"))
		require.Equal(t, control.CodeEmpty, p.Status().Errors[0].Code)
		require.True(t, p.Status().Ready)
		p.becomes(gone)
		require.Equal(t, "unreadable", p.Status().Errors[1].Code, "what is known exactly is said")
		require.Equal(t, before, p.served("east"))
	})
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		p.becomes(empty)
		require.Empty(t, p.Status().Errors)
		require.True(t, p.Status().Ready)
		require.True(t, p.served("east").Orphaned, "deleting its document does not cut a fleet off")
		p.becomes(gone)
		require.Len(t, p.Status().Errors, 2, "a directory that cannot be read is not an empty one")
	}, func(o *control.Options) { o.AllowEmpty = true })
}

func TestRemovedGatewayDocument(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x"), gateway(t, "west", "b.example=y")))
		before := p.served("east")
		p.logs.Reset()

		p.becomes(good("2", gateway(t, "west", "c.example=y")))
		orphan := p.served("east")
		require.True(t, orphan.Orphaned)
		require.Equal(t, before.Versions, orphan.Versions)
		require.Equal(t, uint64(2), p.served("west").Generation, "the others go on")
		require.Len(t, p.logged(logrus.WarnLevel), 1)
		p.becomes(good("3", gateway(t, "west", "d.example=y")))
		require.Empty(t, p.logged(logrus.WarnLevel), "once")

		p.becomes(good("4", gateway(t, "west", "d.example=y")))
		require.Equal(t, uint64(3), p.Status().Generation)
		p.becomes(good("5", gateway(t, "east", "a.example=x"), gateway(t, "west", "d.example=y")))
		require.False(t, p.served("east").Orphaned)
		require.Equal(t, before.Generation, p.served("east").Generation, "it had this all along")
	})
}

// One group that cannot be translated, or whose resources do not fit together,
// holds all of them back.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	fail := &failures{}
	for name, tt := range map[string]struct {
		breaks func(*model.Gateway)
		code   string
		want   string
	}{
		"translation fails": {func(g *model.Gateway) { fail.groups.Store(g.Name, errors.New("too odd")) }, control.CodeTranslate, "group west cannot be translated: too odd"},
		"check fails":       {func(g *model.Gateway) { g.TrustDomain = "broken" }, control.CodeSnapshot, `group west cannot be published: the resources do not fit together:`},
		"panic":             {func(g *model.Gateway) { g.TrustDomain = "panic" }, control.CodeInternal, "a defect in sallyport, please report it with the lines logged before: boom"},
	} {
		t.Run(name, func(t *testing.T) {
			fail.groups.Clear()
			inBubble(t, func(t *testing.T, p *plant) {
				p.becomes(good("1", gateway(t, "east", "a.example=x"), gateway(t, "west", "b.example=y")))
				before := p.Status()
				model := p.Model()
				broken := gateway(t, "west", "c.example=y")
				tt.breaks(broken)
				p.becomes(good("2", gateway(t, "east", "c.example=x"), broken))
				after := p.Status()
				require.Equal(t, before.Groups, after.Groups)
				require.Equal(t, before.Generation, after.Generation)
				require.Same(t, model, p.Model())
				require.Len(t, after.Errors, 1)
				require.Equal(t, tt.code, after.Errors[0].Code)
				require.Contains(t, after.Errors[0].Message, tt.want)
				p.logs.Reset()
				p.rescan()
				for _, e := range p.logs.AllEntries() {
					require.Contains(t, e.Message, "panic: boom", "nothing else is said twice")
				}

				fail.groups.Clear()
				p.becomes(good("3", gateway(t, "east", "c.example=x"), gateway(t, "west", "c.example=y")))
				require.Equal(t, uint64(2), p.served("east").Generation)
				require.Equal(t, uint64(2), p.served("west").Generation)
			}, func(o *control.Options) { o.NewTranslator = func() control.Translator { return plainTranslator{fail} } })
		})
	}
}

func TestPanicInTheLoader(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		before := p.served("east")
		p.becomesOverTime(func(time.Time) policy.Result { panic("boom") })
		require.Equal(t, control.CodeInternal, p.Status().Errors[0].Code)
		require.Equal(t, before, p.served("east"))
		p.becomes(good("2", gateway(t, "east", "b.example=x")))
		require.Equal(t, uint64(2), p.served("east").Generation)
	})
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{"no more": errors.New("no more"), "the watch gave no reason": nil} {
		logger := logrus.New()
		c := control.New(control.Options{
			Directory: "policies", Logger: logger, Server: server.New(server.Options{Logger: logger}),
			Watch: func(context.Context, string, source.Options, func()) error { return err },
		})
		require.ErrorContains(t, c.Run(t.Context()), want)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		get := func(method, path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			p.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
			return w
		}
		require.Equal(t, http.StatusOK, get("GET", "/healthz").Code)
		w := get("GET", "/readyz")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "no policy was published yet\n", w.Body.String())

		p.becomes(bad("1", "a comma is missing"))
		w = get("GET", "/readyz")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "no policy was published yet, because the policy directory is refused: policy.yaml:1:3: error: a comma is missing [some-code]\n", w.Body.String())
		require.Equal(t, http.StatusOK, get("GET", "/healthz").Code)

		p.becomes(good("2", gateway(t, "east", "a.example=x")))
		require.Equal(t, http.StatusOK, get("GET", "/readyz").Code)
		p.becomes(bad("3", "a comma is missing"))
		require.Equal(t, http.StatusOK, get("GET", "/readyz").Code, "the last good policy is served")

		w = get("GET", "/status")
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var status struct {
			Ready      bool
			Generation int
			Errors     []struct{ Code, Severity string }
			Warnings   []any
			Groups     []struct{ Name string }
			Nodes      []any
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
		require.True(t, status.Ready)
		require.Equal(t, 1, status.Generation)
		require.Equal(t, "some-code", status.Errors[0].Code)
		require.Equal(t, "error", status.Errors[0].Severity)
		require.Equal(t, "east", status.Groups[0].Name)
		require.NotNil(t, status.Warnings)
		require.NotNil(t, status.Nodes)

		require.Equal(t, http.StatusMethodNotAllowed, get("POST", "/status").Code)
		require.Equal(t, http.StatusNotFound, get("GET", "/").Code)
	})
}
