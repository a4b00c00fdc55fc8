package web

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// The widths that pages are looked at with.
const (
	desktopWidth, desktopHeight = 1280, 800
	phoneWidth, phoneHeight     = 360, 740
)

// browser is a tab of a Chromium of its own.
type browser struct {
	t    testing.TB
	ctx  context.Context
	base string

	mu sync.Mutex
	// said is what the page wrote to the console, and dialogs what it asked people.
	said    []string
	dialogs int
}

// open starts a Chromium that ends with the test. It may reach nothing but the control
// plane: whatever else a page asked for would be an error in the console.
func open(t testing.TB, base string, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-dev-shm-usage", true))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root in one
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, closed := chromedp.NewContext(allocator)
	b := &browser{t: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		closed()
		stop()
	})
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("about:blank")), "Chromium is missing: make clients")
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	for _, domain := range []cdp.Command[cdp.Empty, cdp.Empty]{log.Enable, runtime.Enable} {
		_, err := chromedp.Call(ctx, domain, cdp.Empty{})
		require.NoError(t, err)
	}
	b.window(desktopWidth, desktopHeight)
	return b
}

// hear notes what a page says beside what it shows.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		b.said = append(b.said, string(e.Entry.Level)+": "+e.Entry.Text)
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, "exception: "+e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.dialogs++
	}
}

// silent asserts that pages said nothing so far.
func (b *browser) silent() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.said)
	require.Zero(b.t, b.dialogs, "a script asked something")
}

// heard returns what pages said so far, and forgets it.
func (b *browser) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := strings.Join(b.said, "\n")
	b.said = nil
	return out
}

// window makes the window so large.
func (b *browser) window(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// scheme is what the system is to prefer, light or dark.
func (b *browser) scheme(word string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: word}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	require.NoError(b.t, err)
}

// scripts turns those of pages on or off.
func (b *browser) scripts(on bool) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	require.NoError(b.t, err)
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// visit opens a page, and follows where it is sent on to.
func (b *browser) visit(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// text is what an element shows.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return eval[string](b, `(document.querySelector(`+quote(selector)+`)||{}).innerText || ""`)
}

// eventually waits until an expression is true.
func (b *browser) eventually(expression, why string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return eval[bool](b, expression) }, patience, 20*time.Millisecond, why)
}

// eval is the value of an expression in the page, which the page's own policy does not
// bind. What it promises is waited for.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression[:min(len(expression), 200)])
	return out
}

// quote is a text as JavaScript has it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "<", `\x3c`).Replace(s) + `"`
}
