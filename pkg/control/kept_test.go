package control_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/policy/kept"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

// keptSite is a controller on a real directory that can be started again, with
// a directory for its state.
type keptSite struct {
	site
	state string
}

// newKeptSite starts a controller, and returns when its policy is kept.
func newKeptSite(t *testing.T, files map[string]string) (*keptSite, control.Status) {
	t.Helper()
	root := t.TempDir()
	s := &keptSite{site: site{t: t, dir: filepath.Join(root, "policies")}, state: filepath.Join(root, "state")}
	for name, content := range files {
		s.write(name, content)
	}
	s.restart()
	return s, s.eventually(isKept)
}

// isKept says that the directory is in force, and kept.
func isKept(s control.Status) bool {
	return s.Ready && len(s.Errors) == 0 && s.Kept.Digest == s.Digest && !s.Kept.InForce
}

// restart starts a controller after the one before.
func (s *keptSite) restart(change ...func(*control.Options)) {
	s.t.Helper()
	if s.stop != nil {
		s.stop()
	}
	store, err := kept.Open(s.state)
	require.NoError(s.t, err)
	s.start(append(change, func(o *control.Options) { o.Keeper = store })...)
	stop := s.stop
	s.stop = sync.OnceFunc(func() {
		stop()
		require.NoError(s.t, store.Close())
	})
	s.t.Cleanup(s.stop)
}

func (s *keptSite) file() string { return filepath.Join(s.state, "last-good.tar") }

// readyz is what the page says.
func (s *keptSite) readyz() (int, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	return w.Code, w.Body.String()
}

// messages are what was logged at a level.
func (s *keptSite) messages(level logrus.Level) []string {
	var out []string
	for _, e := range s.logs.AllEntries() {
		if e.Level == level {
			out = append(out, e.Message)
		}
	}
	return out
}

func broken() string { return allow("team", "  colour: red\n", "c.example.com") }

func TestKeptThroughARestart(t *testing.T) {
	t.Parallel()
	s, before := newKeptSite(t, files())
	require.Equal(t, s.file(), before.Kept.File)
	require.Empty(t, before.Kept.Error)
	code, body := s.readyz()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok\n", body)
	s.stop()
	s.write("team.yaml", broken())
	s.write("other.yaml", "kind: Nonsense\n")
	s.restart()

	after := s.eventually(func(s control.Status) bool { return s.Ready && len(s.Errors) > 0 })
	require.Equal(t, before.Groups[0].Versions, after.Groups[0].Versions, "gateways that have it are sent nothing")
	require.Equal(t, before.Digest, after.Digest)
	require.Equal(t, before.Files, after.Files)
	require.Equal(t, model.Allow, s.verdict("a.example.com"))
	require.Equal(t, model.Deny, s.verdict("c.example.com"))
	require.True(t, after.Kept.InForce)
	require.True(t, before.Kept.At.Equal(after.Kept.At), "it says from when it is")
	code, body = s.readyz()
	require.Equal(t, http.StatusOK, code)
	at := before.Kept.At.UTC().Format(time.RFC3339)
	require.Contains(t, body, "ok: serving the policy that was kept, as it was on "+at+", because the policy directory is refused: other.yaml:1:")
	warnings := s.messages(logrus.WarnLevel)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "the policy that was kept is, as it was on "+at)
	require.Contains(t, warnings[0], "other.yaml:1:7: error: ")
	require.Contains(t, warnings[0], "(and another error)")
	require.Equal(t, "team.yaml", after.Errors[len(after.Errors)-1].Pos.File)
	require.Equal(t, 5, after.Errors[len(after.Errors)-1].Pos.Line)

	// Once more, as nothing was corrected.
	s.restart()
	again := s.eventually(func(s control.Status) bool { return s.Ready && len(s.Errors) > 0 })
	require.Equal(t, after.Groups[0].Versions, again.Groups[0].Versions)
	require.True(t, before.Kept.At.Equal(again.Kept.At), "it is not younger for that")

	s.remove("other.yaml")
	s.write("team.yaml", allow("team", "", "c.example.com"))
	s.eventually(generation(2))
	require.Equal(t, model.Allow, s.verdict("c.example.com"))
	mended := s.eventually(isKept)
	require.True(t, mended.Kept.At.After(before.Kept.At))
	code, body = s.readyz()
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "ok\n", body)
}

// The directory becomes what it was: nothing is published, and nothing is kept
// anew.
func TestKeptAndMendedAsItWas(t *testing.T) {
	t.Parallel()
	s, before := newKeptSite(t, files())
	s.stop()
	s.write("team.yaml", broken())
	s.restart()
	s.eventually(func(s control.Status) bool { return s.Ready && s.Kept.InForce })
	s.write("team.yaml", files()["team.yaml"])
	after := s.eventually(isKept)
	require.Equal(t, uint64(1), after.Generation)
	require.Equal(t, before.Groups[0].Versions, after.Groups[0].Versions)
	require.Empty(t, after.Reason)
}

func TestKeptWithoutADirectory(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*keptSite){
		"missing":    func(s *keptSite) { s.remove("") },
		"empty":      func(s *keptSite) { s.remove(""); require.NoError(t, os.Mkdir(s.dir, 0o755)) },
		"a file":     func(s *keptSite) { s.remove(""); require.NoError(t, os.WriteFile(s.dir, nil, 0o600)) },
		"no gateway": func(s *keptSite) { s.remove("gateway.yaml") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, before := newKeptSite(t, files())
			s.stop()
			spoil(s)
			s.restart()
			after := s.eventually(func(s control.Status) bool { return s.Ready && s.Kept.InForce && len(s.Errors) > 0 })
			require.Equal(t, before.Groups[0].Versions, after.Groups[0].Versions)
			s.remove("")
			for name, content := range files() {
				s.write(name, content)
			}
			s.eventually(isKept)
		})
	}
}

// An empty policy, where that is allowed, is a good one too.
func TestKeptEmpty(t *testing.T) {
	t.Parallel()
	s, _ := newKeptSite(t, files())
	s.remove("")
	require.NoError(t, os.Mkdir(s.dir, 0o755))
	allowEmpty := func(o *control.Options) { o.AllowEmpty = true }
	s.restart(allowEmpty)
	s.eventually(func(s control.Status) bool { return isKept(s) && s.Files == 0 })
	s.write("team.yaml", broken())
	s.restart(allowEmpty)
	s.eventually(func(s control.Status) bool { return s.Ready && s.Kept.InForce })
	require.Empty(t, s.Model().Gateways)
	s.restart()
	status := s.eventually(refused)
	require.False(t, status.Ready, "without the flag it is none")
	require.Contains(t, status.Kept.Error, "no-gateway")
}

// A grant that ran out meanwhile does not come back, whatever the clock says.
func TestKeptAndExpired(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	all := files()
	all["grant.yaml"] = allow("grant", fmt.Sprintf("  expires: %s\n", end.UTC().Format(time.RFC3339)), "a.example.com", "grant.example.com") +
		"  tests:\n  - {from: {serviceAccount: app}, host: grant.example.com, expect: Allow}\n"
	s, before := newKeptSite(t, all)
	require.Equal(t, model.Allow, s.verdict("grant.example.com"))
	s.stop()
	s.write("team.yaml", broken())

	var clock atomic.Int64
	clock.Store(end.Add(-time.Second).UnixNano())
	onClock := func(o *control.Options) { o.Now = func() time.Time { return time.Unix(0, clock.Load()) } }
	inForce := func(s control.Status) bool { return s.Ready && s.Kept.InForce && len(s.Errors) > 0 }
	s.restart(onClock)
	require.Equal(t, before.Groups[0].Versions, s.eventually(inForce).Groups[0].Versions)
	require.Equal(t, model.Allow, s.verdict("grant.example.com"))
	clock.Store(end.UnixNano())
	require.Eventually(t, func() bool { return s.verdict("grant.example.com") == model.Deny }, patience, time.Millisecond,
		"what is served goes on expiring")

	s.restart(onClock)
	after := s.eventually(inForce)
	require.NotEqual(t, before.Groups[0].Versions, after.Groups[0].Versions)
	require.Equal(t, uint64(1), after.Generation, "it was never served")
	require.Equal(t, model.Deny, s.verdict("grant.example.com"))
	require.Equal(t, model.Allow, s.verdict("a.example.com"), "another policy allows it")

	// The same as from the directory itself.
	s.write("team.yaml", files()["team.yaml"])
	good := s.eventually(isKept)
	require.Equal(t, after.Groups[0].Versions, good.Groups[0].Versions)
}

// A machine whose clock starts in the past does not bring back what had expired
// when the policy was kept.
func TestKeptAndTheClockIsBehind(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(-time.Hour)
	all := files()
	all["grant.yaml"] = allow("grant", fmt.Sprintf("  expires: %s\n", end.UTC().Format(time.RFC3339)), "grant.example.com")
	s, before := newKeptSite(t, all)
	require.Equal(t, model.Deny, s.verdict("grant.example.com"))
	s.stop()
	s.write("team.yaml", broken())
	s.restart(func(o *control.Options) { o.Now = func() time.Time { return time.Unix(0, 0) } })
	after := s.eventually(func(s control.Status) bool { return s.Ready && s.Kept.InForce })
	require.Equal(t, before.Groups[0].Versions, after.Groups[0].Versions)
	require.Equal(t, model.Deny, s.verdict("grant.example.com"))
}

func TestKeptThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(t *testing.T, s *keptSite){
		"is damaged": func(t *testing.T, s *keptSite) {
			data, err := os.ReadFile(s.file())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(s.file(), bytes.Replace(data, []byte("a.example.com"), []byte("e.example.com"), 1), 0o600))
		},
		"cut short": func(t *testing.T, s *keptSite) { require.NoError(t, os.Truncate(s.file(), 3000)) },
		"has format 7": func(t *testing.T, s *keptSite) {
			data, err := os.ReadFile(s.file())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(s.file(), bytes.Replace(data, []byte(`"format": 1`), []byte(`"format": 7`), 1), 0o600))
		},
		"is of another policy directory, /elsewhere, not of ": func(t *testing.T, s *keptSite) {
			s.replace(t, func(p *kept.Policy) { p.Directory = "/elsewhere" })
		},
		"this version of sallyport refuses it: team.yaml:5:3: error: ": func(t *testing.T, s *keptSite) {
			s.replace(t, func(p *kept.Policy) {
				p.Tree = source.NewTree([]source.File{{Path: "gateway.yaml", Data: []byte(files()["gateway.yaml"])}, {Path: "team.yaml", Data: []byte(broken())}})
			})
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s, before := newKeptSite(t, files())
			s.stop()
			spoil(t, s)
			s.write("team.yaml", broken())
			s.restart()
			status := s.eventually(refused)
			require.False(t, status.Ready)
			require.Empty(t, status.Groups, "no half of it is used")
			require.Contains(t, status.Kept.Error, want)
			require.False(t, status.Kept.InForce)
			code, body := s.readyz()
			require.Equal(t, http.StatusServiceUnavailable, code)
			require.Contains(t, body, "team.yaml:5:3: error: ")
			require.Contains(t, body, "and the policy that was kept is of no use: ")
			require.Contains(t, strings.Join(s.messages(logrus.ErrorLevel), "\n"), "the policy that was kept is of no use: ")

			s.write("team.yaml", files()["team.yaml"])
			after := s.eventually(isKept)
			require.Empty(t, after.Kept.Error)
			require.Equal(t, before.Groups[0].Versions, after.Groups[0].Versions)
		})
	}
}

// replace changes what is kept, as Save would.
func (s *keptSite) replace(t *testing.T, change func(*kept.Policy)) {
	t.Helper()
	store, err := kept.Open(s.state)
	require.NoError(t, err)
	p, err := store.Load()
	require.NoError(t, err)
	change(&p)
	require.NoError(t, store.Save(p))
	require.NoError(t, store.Close())
}

// Nothing was kept yet.
func TestKeptNothing(t *testing.T) {
	t.Parallel()
	s, _ := newKeptSite(t, files())
	s.stop()
	require.NoError(t, os.Remove(s.file()))
	s.write("team.yaml", broken())
	s.restart()
	status := s.eventually(refused)
	require.False(t, status.Ready)
	require.Empty(t, status.Kept.Error)
	require.NotContains(t, status.Reason, "kept")
}

// What was published is kept even if it ends at once.
func TestKeptAtTheEnd(t *testing.T) {
	t.Parallel()
	s, _ := newKeptSite(t, files())
	s.write("team.yaml", allow("team", "", "c.example.com"))
	s.eventually(generation(2))
	s.stop()
	s.write("team.yaml", broken())
	s.restart()
	s.eventually(func(s control.Status) bool { return s.Ready && s.Kept.InForce })
	require.Equal(t, model.Allow, s.verdict("c.example.com"))
}

// cabinet is a Keeper in memory.
type cabinet struct {
	mu    sync.Mutex
	has   *kept.Policy
	err   error
	loads int
	tries int
	slow  time.Duration
}

func (c *cabinet) Path() string { return "cabinet" }

func (c *cabinet) Load() (kept.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads++
	if c.has == nil {
		return kept.Policy{}, kept.ErrNone
	}
	return *c.has, nil
}

func (c *cabinet) Save(p kept.Policy) error {
	time.Sleep(c.slow)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tries++
	if c.err == nil {
		c.has = &p
	}
	return c.err
}

func (c *cabinet) fails(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *cabinet) holds() *kept.Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.has
}

func (c *cabinet) tried() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tries
}

func (c *cabinet) loaded() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loads
}

func (c *cabinet) keeps(o *control.Options) { o.Keeper = c }

// Beyond the start nothing is loaded: a good directory wins, and a broken one
// leaves what is in force.
func TestKeptIsNotLoadedWithoutNeed(t *testing.T) {
	t.Parallel()
	c := &cabinet{}
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		p.becomes(bad("2", "a comma is missing"))
		p.becomes(good("3", gateway(t, "east", "b.example=x")))
		require.Zero(t, c.loaded())
	}, c.keeps)
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(bad("2", "a comma is missing"))
		p.becomes(bad("3", "another comma is missing"))
		p.rescan()
		require.Equal(t, 1, c.loaded())
	}, c.keeps)
}

// What compiles and cannot be translated is as broken as the rest; and if what
// was kept cannot be either, that is said.
func TestKeptWhenTranslationFails(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		fail := &failures{}
		fail.groups.Store("east", errors.New("too odd"))
		if both {
			fail.groups.Store("egress", errors.New("odd as well"))
		}
		c := &cabinet{has: &kept.Policy{Directory: "policies", Tree: source.NewTree([]source.File{
			{Path: "gateway.yaml", Data: []byte(files()["gateway.yaml"])}, {Path: "team.yaml", Data: []byte(files()["team.yaml"])},
		})}}
		inBubble(t, func(t *testing.T, p *plant) {
			p.becomes(good("1", gateway(t, "east", "a.example=x")))
			status := p.Status()
			require.Equal(t, control.CodeTranslate, status.Errors[0].Code)
			require.Equal(t, !both, status.Ready)
			require.Equal(t, !both, status.Kept.InForce)
			if both {
				require.Contains(t, status.Kept.Error, "group egress cannot be translated: odd as well")
			}
		}, c.keeps, func(o *control.Options) { o.NewTranslator = func() control.Translator { return plainTranslator{fail} } })
	}
}

// A disk that is full is a warning, once, and keeps nothing from being published.
func TestKeptCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := &cabinet{err: errors.New("no space left on device")}
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		require.Zero(t, c.tried(), "the gateways come first")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 1, c.tried())
		require.Equal(t, "no space left on device", p.Status().Kept.Error)
		p.becomes(good("2", gateway(t, "east", "b.example=x")))
		require.Equal(t, uint64(2), p.Status().Generation)
		require.True(t, p.Status().Ready)
		require.Empty(t, p.Status().Errors)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.InDelta(t, 12, c.tried(), 1)
		warnings := p.logged(logrus.WarnLevel)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], "the policy in force cannot be kept for a restart")

		c.fails(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, p.Status().Kept.Error)
		require.NotNil(t, c.holds())
		require.Equal(t, []string{"the policy in force is kept for a restart again"}, p.logged(logrus.InfoLevel))
		tries := c.tried()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, tries, c.tried(), "once is enough")

		c.fails(errors.New("read-only file system"))
		p.becomes(good("3", gateway(t, "east", "c.example=x")))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, p.logged(logrus.WarnLevel), 1, "it is another failure")
	}, c.keeps)
}

// The directory is published however slow the disk is, and of what came
// meanwhile the latest is written.
func TestKeptOnASlowDisk(t *testing.T) {
	t.Parallel()
	c := &cabinet{slow: time.Minute}
	inBubble(t, func(t *testing.T, p *plant) {
		for i := range 100 {
			p.becomes(good(fmt.Sprint(i), gateway(t, "east", fmt.Sprintf("h%d.example=x", i))))
			require.Equal(t, uint64(i+1), p.Status().Generation)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		require.LessOrEqual(t, c.tried(), 3)
		require.Equal(t, p.Status().Digest, p.Status().Kept.Digest)
		first := c.holds().At

		p.becomes(good("99 # comment", gateway(t, "east", "h99.example=x")))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.True(t, c.holds().At.After(first), "files that mean the same are kept too: explanations name their lines")
		tries := c.tried()
		p.rescan()
		p.becomes(bad("100", "a comma is missing"))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, tries, c.tried(), "what is refused is not")
		require.Equal(t, diag.Error, p.Status().Errors[0].Severity)
	}, c.keeps)
}
