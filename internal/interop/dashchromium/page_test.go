package dashchromium_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/dashboard"
)

const token = "of-the-browser-tests"

// site is a dashboard that is served on loopback, under a prefix.
type site struct {
	*testing.T
	d      *dashboard.Dashboard
	client *dashboard.Client // nil until something is pushed
	addr   string
	stop   func()
	n      uint64
}

// note tries what a note could do if it were markup.
const note = `<img src=x onerror="window.__pwned = 1"><script>window.__pwned = 1</script>`

// host serves a dashboard at an address, "127.0.0.1:0" for any.
func host(t *testing.T, addr string, verdicts ...json.Marshaler) *site {
	t.Helper()
	d, err := dashboard.New(dashboard.Config{
		Tokens: []string{token}, Interval: 500 * time.Millisecond, Note: note, Verdicts: func() []json.Marshaler { return verdicts },
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/some/where/", d)
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	s := &site{T: t, d: d, addr: listener.Addr().String()}
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if s.client != nil {
			_ = s.client.Close(ctx)
		}
		_ = d.Close(ctx)
		_ = server.Close()
		<-done
	}
	t.Cleanup(s.stop)
	return s
}

func (s *site) url() string { return "http://" + s.addr + "/some/where/" }

// report has n new detectors tell of a place.
func (s *site) report(n int, nat natprobe.Type, place dashboard.Place, err error) {
	s.Helper()
	for range n {
		id, idErr := stats.NewID(nil)
		if err == nil && idErr == nil {
			err = s.d.Report(dashboard.Report{Detector: id, NAT: nat, Place: place})
		}
	}
	if err != nil {
		s.Fatal(err)
	}
}

// attempts has the site's detector tell of what became of some attempts.
func (s *site) attempts(pair stats.PairKind, reason string, n int) {
	s.Helper()
	r := dashboard.Report{NAT: natprobe.TypePortRestrictedCone}
	for range n {
		e := stats.Event{
			Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Pair: pair, Protocol: stats.ProtocolUDP, IPVersion: 4,
			Latency: 80 * time.Millisecond, Tries: 5, Group: "__proto__", LocalNAT: natprobe.TypeSymmetric, RemoteNAT: natprobe.Type(1 + s.n%6),
		}
		if pair == 0 {
			e.Status, e.Reason = stats.StatusFail, reason
		}
		s.n++
		e.ID, e.Session = newID(s.T), newID(s.T)
		r.Events = append(r.Events, e)
		if pair == stats.PairRelay {
			e.ID, e.Stage, e.Status, e.Pair, e.Reason, e.Protocol = newID(s.T), stats.StagePunch, stats.StatusTimeOut, 0, reason, 0
			r.Events = append(r.Events, e)
		}
	}
	if s.client == nil {
		var err error
		if s.client, err = dashboard.NewClient(dashboard.ClientConfig{URL: s.url(), Token: token}); err != nil {
			s.Fatal(err)
		}
	}
	if err := s.client.Push(s.Context(), r); err != nil {
		s.Fatal(err)
	}
}

func newID(t *testing.T) stats.ID {
	id, err := stats.NewID(nil)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// verdict is one of stats.Verdict's, as JSON has it.
const verdict = `{"experiment":"lane-order","decision":"better","reason":"predicted-first succeeds more often than control","sample_ratio":{"p":0.7},
"control":"control","control_rate":{"successes":4120,"n":4900},"arms":[{"arm":"predicted-first","decision":"better","reason":"","success":
{"arm":{"successes":4306,"n":4950},"control":{"successes":4120,"n":4900},"difference":0.0291,"low":0.0102,"high":0.048,"p_value":0.0004}}]}`

// fill makes a fleet to look at.
func (s *site) fill() {
	s.Helper()
	for i, code := range []string{"DE", "US", "BR", "IN", "JP", "NG", "AU", "FR"} {
		for nat := natprobe.TypeOpen; nat <= natprobe.TypeUDPBlocked; nat++ {
			place, err := dashboard.Country(code)
			s.report(1+(i*int(nat))%7, nat, place, err)
		}
	}
	s.attempts(stats.PairSrflx, "", 60)
	s.attempts(stats.PairRelay, "both_symmetric", 20)
	s.attempts(0, "no_answer", 6)
}

// The page shows what there is, as what it is, and nothing that was sent can act.
func TestPage(t *testing.T) {
	browser := browse(t)
	s := host(t, "127.0.0.1:0", json.RawMessage(verdict))
	s.fill()
	p := open(t, browser, s.url(), 1280, 900)
	p.prefer("light")
	p.until(`shown('r-direct') === '69.8 %%'`)
	for id, want := range map[string]string{
		"r-direct-sub": "59–78 % · 60 of 86", "r-relayed": "23.3 %", "r-failed": "7.0 %", "note": note, "live-text": "live, as of ",
	} {
		if got := js[string](p, "shown(%s)", quoted(id)); got != want && (id != "live-text" || len(got) < 12) {
			t.Errorf("%s shows %q, want %q", id, got, want)
		}
	}
	for what, script := range map[string]string{
		"why relayed":       `shown('reasons').includes('both NATs give each destination another port')`,
		"why failed":        `shown('reasons').includes('No path: the other side did not answer the offer')`,
		"pairs":             `document.querySelectorAll('#matrix tbody td b').length >= 6`,
		"a verdict":         `shown('ab').includes('+2.9 points (+1.0 to +4.8), p < 0.001') && shown('ab').includes('better')`,
		"attempts":          `document.querySelectorAll('#recent tbody tr').length === 16`,
		"a ledger":          `/events counted\s*106/.test(shown('ledger'))`,
		"what the map is":   `document.getElementById('map').getAttribute('aria-label').includes('8 places, most in ')`,
		"nothing sideways":  `document.documentElement.scrollWidth <= innerWidth`,
		"nobody's scripts":  `window.__pwned === undefined`,
		"focus by keyboard": `(document.getElementById('map').focus(), document.activeElement.id === 'map')`,
	} {
		if !js[bool](p, "%s", script) {
			t.Errorf("the page has not: %s; it shows %s", what, p.text())
		}
	}
	key := func(name string) string {
		js[bool](p, `document.getElementById('map').dispatchEvent(new KeyboardEvent('keydown', {key: %s, bubbles: true}))`, quoted(name))
		return js[string](p, `document.getElementById('tip').hidden ? '' : shown('tip')`)
	}
	first, second, back := key("ArrowRight"), key("ArrowRight"), key("ArrowLeft")
	if first == "" || first == second || first != back || key("Escape") != "" {
		t.Errorf("the arrow keys show %q, %q, %q", first, second, back)
	}
	rows := js[int](p, `(document.getElementById('places').open = true, until(() => document.querySelectorAll('#places-table tbody tr').length))`)
	if rows != 9 {
		t.Errorf("the map's twin has %d rows, want 8 places and elsewhere", rows)
	}
	js[bool](p, `(document.getElementById('places').open = false, true)`)
	// The attempts are in the pane of now; perhaps the first of them in the one before.
	panes := js[string](p, `(document.getElementById('panes').open = true, until(() => shown('panes-table').includes('Direct') && shown('panes-table')))`)
	if !strings.Contains(panes, "%") {
		t.Errorf("the time line's twin has %q", panes)
	}
	js[bool](p, `(document.getElementById('panes').open = false, true)`)
	if console := p.console(); len(console) > 0 {
		t.Errorf("the console: %q", console)
	}
	t.Logf("%.0f ms to the first picture, %.0f bytes over the wire",
		js[float64](p, `performance.getEntriesByName('first-picture')[0].startTime`),
		js[float64](p, `performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((sum, e) => sum + e.encodedBodySize, 0)`))
	p.shoot("1280-light")
	// What somebody writes into the page does not run.
	violations := js[int](p, `(() => {
		const script = document.createElement('script');
		try { script.textContent = 'window.__pwned = 1'; document.head.append(script); } catch {}
		const other = document.createElement('script');
		try { other.src = 'data:text/javascript,window.__pwned=1'; document.head.append(other); } catch {}
		try { document.body.setAttribute('onclick', 'window.__pwned = 1'); document.body.click(); } catch {}
		const image = document.createElement('img');
		image.src = 'http://127.0.0.1:1/';
		document.body.append(image);
		return until(() => window.__violations.length >= 3 && window.__violations.length);
	})()`)
	if js[bool](p, "window.__pwned === 1") || violations < 3 {
		t.Errorf("a script that was written into the page has run, or nobody noticed: %d violations", violations)
	}
}

// One push of a detector that makes a place visible changes the map there and nowhere else.
func TestPush(t *testing.T) {
	browser := browse(t)
	s := host(t, "127.0.0.1:0")
	iceland, err := dashboard.Country("IS")
	s.report(4, natprobe.TypeSymmetric, iceland, err)
	s.report(9, natprobe.TypeFullCone, iceland, nil)
	sydney, err := dashboard.LatLon(-33.9, 151.2)
	s.report(4, natprobe.TypeOpen, sydney, err)
	p := open(t, browser, s.url(), 1000, 800)
	p.until(`shown('n-detectors') === '17'`)
	js[bool](p, `(window.__at = [[-34, 151], [40, -30]], window.__seen.length = 0, true)`)
	s.report(1, natprobe.TypeOpen, sydney, nil) // the fifth
	got := js[struct{ Here, There bool }](p, `until(() => window.__seen.find((m) => m.places.includes('-34,151')))
		.then((m) => ({here: m.before[0] !== m.after[0], there: m.before[1] !== m.after[1]}))`)
	if !got.Here || got.There {
		t.Errorf("the message with the fifth detector has changed the map there: %v, and elsewhere: %v", got.Here, got.There)
	}

	// By class: Sydney's are gone from the map when only symmetric ones are wanted.
	symmetric := `document.querySelector('#classes [data-key="symmetric"] button')`
	with := js[string](p, `__pixels([-34, 151])`)
	js[bool](p, `(%s.click(), true)`, symmetric)
	without := js[string](p, `__pixels([-34, 151])`)
	if with == without || !js[bool](p, `%s.getAttribute('aria-pressed') === 'true'`, symmetric) {
		t.Error("the filter leaves the map as it is")
	}
	if text := js[string](p, `shown('where-sub')`); text != "4 of 4 chosen detectors are on the map" {
		t.Errorf("filtered: %q", text)
	}
	js[bool](p, `(document.getElementById('all').click(), true)`)
	if js[string](p, `__pixels([-34, 151])`) != with {
		t.Error("without the filter the map is another than before it")
	}
	if console := p.console(); len(console) > 0 {
		t.Errorf("the console: %q", console)
	}
}

// It is dark where the user likes that, or chose it, and fits a phone.
func TestLooks(t *testing.T) {
	browser := browse(t)
	s := host(t, "127.0.0.1:0")
	s.fill()
	p := open(t, browser, s.url(), 390, 844)
	p.until(`shown('r-direct') === '69.8 %%'`)
	if ab := js[string](p, `shown('ab')`); !strings.Contains(ab, "__proto__69.8 % (59–78 %) of 86") {
		t.Errorf("experiments without a verdict: %q", ab)
	}
	lightness := func() float64 {
		return js[float64](p, `getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).slice(0, 3).reduce((sum, v) => sum + Number(v), 0)`)
	}
	p.prefer("light")
	p.until(`getComputedStyle(document.body).color === 'rgb(28, 33, 38)'`)
	light, drawn := lightness(), js[string](p, `__pixels([52, 10])`)
	p.shoot("390-light")
	p.prefer("dark")
	p.until(`getComputedStyle(document.body).color !== 'rgb(28, 33, 38)'`)
	p.until(`__pixels([52, 10]) !== %s`, quoted(drawn)) // the map follows
	if dark := lightness(); dark > 150 || light < 600 {
		t.Errorf("background %v light and %v dark", light, dark)
	}
	p.shoot("390-dark")
	js[bool](p, `(document.getElementById('theme').click(), true)`) // from system to light
	if lightness() != light || js[string](p, `shown('theme')`) != "Theme: light" {
		t.Errorf("chosen: %v, %s", lightness(), js[string](p, `shown('theme')`))
	}
	if wide := js[float64](p, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %v wide on a phone", wide)
	}
	if console := p.console(); len(console) > 0 {
		t.Errorf("the console: %q", console)
	}
}

// When the server goes away the page says so, and it is back when the server is.
func TestRestart(t *testing.T) {
	browser := browse(t)
	s := host(t, "127.0.0.1:0")
	s.report(7, natprobe.TypeOpen, dashboard.Place{}, nil)
	p := open(t, browser, s.url(), 1000, 800)
	p.until(`shown('n-detectors') === '7'`)
	s.stop()
	p.until(`document.getElementById('live').dataset.state !== 'live'`)
	if !js[bool](p, `document.getElementById('stale').hidden`) {
		t.Error("it is called stale at once")
	}
	js[bool](p, `(window.__late += 16000, true)`) // as if so much time had gone by
	p.until(`!document.getElementById('stale').hidden && shown('stale').includes('Nothing was heard for 1')`)
	if shown := js[string](p, `shown('n-detectors')`); shown != "7" {
		t.Errorf("what was known is gone: %q", shown)
	}
	again := host(t, s.addr)
	again.report(3, natprobe.TypeOpen, dashboard.Place{}, nil)
	p.until(`shown('n-detectors') === '3' && document.getElementById('stale').hidden && document.getElementById('live').dataset.state === 'live'`)
	if violations := js[int](p, `window.__violations.length`); violations > 0 {
		t.Errorf("%d violations of the policy", violations)
	}
}
