package icechromium_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

// patience bounds the start of Chromium and every meeting.
const patience = 60 * time.Second

//go:embed testdata/page.html
var page string

// chromium is a browser that runs until the test ends, with a place that serves the page.
type chromium struct {
	ctx context.Context
	url string
}

// start starts Chromium. listen opens a listener where it can be reached from Chromium.
// The test is skipped, or fails in CI, where there is none.
func start(t *testing.T, listen func() (net.Listener, error), more ...chromedp.ExecAllocatorOption) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		const how = "chromium is not installed: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	l, err := listen()
	check(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(page))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })

	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("TMPDIR=" + t.TempDir()), // it is killed at the end, and what it keeps there stays
		// Its renderers are not sandboxed where it runs as root. It talks to nobody but us.
		chromedp.Flag("no-sandbox", os.Getuid() == 0),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	}, more...)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	// Chromium lives as long as the context that it is started with.
	late := time.AfterFunc(patience, cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	late.Stop()
	return &chromium{ctx, "http://" + l.Addr().String() + "/"}
}

// grant lets pages use the camera. They see the addresses of all interfaces then, as they
// are; others see the default route's, behind an mDNS name.
func (c *chromium) grant(t *testing.T) {
	t.Helper()
	check(t, chromedp.Do(c.ctx, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for _, name := range []string{"camera", "microphone"} {
			_, err := cdp.Call(ctx, tab, browser.SetPermission, browser.SetPermissionParams{
				Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})))
}

// tab is the page, opened.
type tab struct {
	ctx context.Context // ends after patience
	t   *testing.T
}

func (c *chromium) open(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(c.ctx)
	t.Cleanup(cancel)
	late := time.AfterFunc(patience, cancel)
	check(t, chromedp.Do(ctx, chromedp.Navigate(c.url)))
	late.Stop()
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return &tab{ctx, t}
}

// nothing is what a function of the page returns that returns nothing.
type nothing = chromedp.Void

// call calls a function of the page, or a method, and waits for what it promises. Only the
// test's own goroutine may use it.
func call[T any](p *tab, name string, args ...any) T {
	p.t.Helper()
	v, err := try[T](p, name, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func try[T any](p *tab, name string, args ...any) (T, error) {
	var text []string
	for _, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			var zero T
			return zero, err
		}
		text = append(text, string(b))
	}
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](name+"("+strings.Join(text, ", ")+")", chromedp.EvalAwaitPromise))
	if err != nil {
		err = fmt.Errorf("the page's %s: %w", name, err)
	}
	return v, err
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
