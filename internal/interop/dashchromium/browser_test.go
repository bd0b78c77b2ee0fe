package dashchromium_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// patience bounds each step.
const patience = 60 * time.Second

// browse starts Chromium. The test is skipped, or fails in CI, where there is none.
func browse(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		const how = "chromium is not installed: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("TMPDIR="+t.TempDir()), // it is killed at the end, and what it keeps there stays
		// Its renderers are not sandboxed where it runs as root. It talks to nobody but us.
		chromedp.Flag("no-sandbox", os.Getuid() == 0), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	late := time.AfterFunc(patience, cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	late.Stop()
	return ctx
}

// tab is the page, opened. Only the test's own goroutine may use it.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	messages []string // warnings and worse of its console
}

// eyes is run before the page's own script. It sees the page's messages first: __seen has
// each with the pixels of the map before and after it. __late makes the page's clock go.
const eyes = `
window.__late = 0;
const real = performance.now.bind(performance);
performance.now = () => real() + window.__late;
window.__violations = [];
document.addEventListener('securitypolicyviolation', (e) => window.__violations.push(e.violatedDirective));
window.__seen = [];
window.__at = [[0, 0]];
const glass = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
window.__pixels = (at) => {
  const c = document.getElementById('map');
  const k = c.width / 360;
  glass.clearRect(0, 0, 8, 8);
  glass.drawImage(c, (at[1] + 180) * k - 4, (83 - at[0]) * k - 4, 8, 8, 0, 0, 8, 8);
  return glass.getImageData(0, 0, 8, 8).data.join();
};
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
  constructor(...args) {
    super(...args);
    this.addEventListener('message', (e) => {
      const seen = {places: Object.keys(JSON.parse(e.data).sections.places || {}), before: window.__at.map(window.__pixels)};
      setTimeout(() => window.__seen.push({...seen, after: window.__at.map(window.__pixels)}));
    });
  }
};
window.until = (what) => new Promise((done) => {
  const look = () => { const v = what(); if (v) done(v); else setTimeout(look, 20); };
  look();
});
window.shown = (id) => document.getElementById(id).textContent;
`

// open opens the page in a window of some size.
func open(t *testing.T, browser context.Context, url string, width, height int64) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	late := time.AfterFunc(patience, cancel)
	p := &tab{T: t, ctx: ctx}
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if kind := string(m.Type); m.IsException() || kind == "error" || kind == "warning" {
				p.mu.Lock()
				p.messages = append(p.messages, m.String())
				p.mu.Unlock()
			}
		}
	}()
	_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: eyes})
	if err == nil {
		err = chromedp.Do(ctx, chromedp.EmulateViewport(width, height), chromedp.Navigate(url))
	}
	if err != nil {
		t.Fatal(err)
	}
	late.Stop()
	p.ctx, cancel = context.WithTimeout(ctx, 4*patience)
	t.Cleanup(cancel)
	return p
}

// js evaluates an expression, and waits for what it promises.
func js[T any](p *tab, format string, args ...any) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf(format, args...), chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("%s: %v; the page shows %q; its console: %q", fmt.Sprintf(format, args...), err, p.text(), p.console())
	}
	return v
}

// until waits until something holds in the page.
func (p *tab) until(format string, args ...any) {
	p.Helper()
	js[bool](p, "until(() => "+format+").then(() => true)", args...)
}

func (p *tab) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText.slice(0, 1000)"))
	return text
}

func (p *tab) console() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.messages
}

// prefer sets what the page's user prefers: "dark" or "light".
func (p *tab) prefer(scheme string) {
	p.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		p.Fatal(err)
	}
}

// shoot keeps a picture of the page with the test's artefacts.
func (p *tab) shoot(name string) {
	p.Helper()
	data, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.Fatal(err)
	}
	to := filepath.Join(p.ArtifactDir(), name+".png")
	if err := os.WriteFile(to, data, 0o644); err != nil {
		p.Fatal(err)
	}
	p.Logf("%s: %d bytes", to, len(data))
}

// quoted is a text as JavaScript has it.
func quoted(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(text), "%", "%%")
}
