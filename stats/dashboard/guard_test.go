package dashboard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const reportText = `{"detector":"00000000000000000000000000000001","nat":"symmetric"}`

// asks is a request, and what is due to it.
type asks struct {
	name   string
	method string
	url    string
	header string // "Name: value", separated by "; "
	body   string
	from   string // ""; loopback
	want   int
}

func (a asks) do(h http.Handler) *httptest.ResponseRecorder {
	r := httptest.NewRequest(a.method, a.url, strings.NewReader(a.body))
	r.RemoteAddr = "127.0.0.1:999"
	if a.from != "" {
		r.RemoteAddr = a.from
	}
	for line := range strings.SplitSeq(a.header, "; ") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func start(t *testing.T, cfg Config) *Dashboard {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return d
}

func TestGuards(t *testing.T) {
	const (
		json  = "Content-Type: application/json"
		token = json + "; Authorization: Bearer " + testToken
	)
	closed := start(t, Config{Hosts: []string{"stats.example.org", "192.0.2.7"}})
	tokens := start(t, Config{Tokens: []string{"another-one-entirely", testToken}, Hosts: []string{"stats.example.org"}})
	open := start(t, Config{Open: true, Hosts: []string{"stats.example.org"}})
	for _, on := range []struct {
		d    *Dashboard
		name string
		asks []asks
	}{
		{closed, "no tokens", []asks{
			{"by loopback", "GET", "http://127.0.0.1:8080/", "", "", "", 200},
			{"by the other loopback", "GET", "http://[::1]:8080/", "", "", "", 200},
			{"by localhost", "GET", "http://LOCALHOST/", "", "", "", 200},
			{"by a name it has", "GET", "https://stats.example.org/", "", "", "", 200},
			{"by an address it has", "GET", "http://192.0.2.7:80/", "", "", "", 200},
			{"by another name: rebinding", "GET", "http://evil.example/", "", "", "", 403},
			{"by a name that only begins well", "GET", "http://localhost.evil.example/", "", "", "", 403},
			{"by another address", "GET", "http://192.0.2.8/", "", "", "", 403},
			{"its own page", "GET", "http://127.0.0.1:8080/data.json", "Origin: http://127.0.0.1:8080", "", "", 200},
			{"a page from elsewhere", "GET", "http://127.0.0.1:8080/data.json", "Origin: https://evil.example", "", "", 403},
			{"a page of another port", "GET", "http://127.0.0.1:8080/data.json", "Origin: http://127.0.0.1:9090", "", "", 403},
			{"a page from nowhere", "GET", "http://127.0.0.1:8080/data.json", "Origin: null", "", "", 403},
			{"two origins", "GET", "http://localhost/data.json", "Origin: http://localhost; Origin: http://evil.example", "", "", 403},
			{"a WebSocket of a page from elsewhere", "GET", "http://localhost/ws", "Origin: http://evil.example; Sec-WebSocket-Key: x", "", "", 403},
			{"no WebSocket", "GET", "http://localhost/ws", "", "", "", 426},
			{"what is not there", "GET", "http://localhost/../../etc/passwd", "", "", "", 404},
			{"what must not be written", "POST", "http://localhost/data.json", "", "", "", 405},
			{"a report", "POST", "http://localhost/report", token, reportText, "", 403},
			{"reading reports", "GET", "http://localhost/report", token, "", "", 405},
		}},
		{tokens, "tokens", []asks{
			{"right", "POST", "http://stats.example.org/report", token, reportText, "192.0.2.1:5", 200},
			{"none", "POST", "http://stats.example.org/report", json, reportText, "", 401},
			{"wrong", "POST", "http://stats.example.org/report", json + "; Authorization: Bearer " + testToken + "x", reportText, "", 401},
			{"of another kind", "POST", "http://stats.example.org/report", json + "; Authorization: Basic " + testToken, reportText, "", 401},
			{"a WebSocket without", "GET", "http://stats.example.org/report/ws", "Sec-WebSocket-Key: x", "", "", 401},
			{"of a form", "POST", "http://localhost/report", strings.Replace(token, json, "Content-Type: text/plain", 1), reportText, "", 415},
			{"too long", "POST", "http://localhost/report", token, strings.Repeat(" ", MaxMessage+1), "", 413},
			{"empty", "POST", "http://localhost/report", token, "", "", 400},
			{"no JSON", "POST", "http://localhost/report", token, "{", "", 400},
		}},
		{open, "open", []asks{
			{"from here", "POST", "http://localhost:80/report", json, reportText, "", 200},
			{"from elsewhere", "POST", "http://localhost:80/report", json, reportText, "192.0.2.1:5", 401},
			{"by a public name", "POST", "http://stats.example.org/report", json, reportText, "", 401},
		}},
	} {
		for _, a := range on.asks {
			w := a.do(on.d)
			if w.Code != a.want {
				t.Errorf("%s, %s: %s %s: %d, want %d: %s", on.name, a.name, a.method, a.url, w.Code, a.want, w.Body)
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Set-Cookie": "",
				"Access-Control-Allow-Origin": "",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s, %s: %s: %q, want %q", on.name, a.name, name, got, want)
				}
			}
		}
	}
	if l := tokens.Ledger(); l.Accepted != 1 || l.Unauthorised != 4 || l.Refused != 3 {
		t.Errorf("%+v", l)
	}
}

// The page is found under any prefix, whether it is taken off or not.
func TestPrefixes(t *testing.T) {
	d := start(t, Config{})
	whole := http.NewServeMux()
	whole.Handle("/a/b/", d)
	stripped := http.NewServeMux()
	stripped.Handle("/a/b/", http.StripPrefix("/a/b/", d))
	also := http.NewServeMux()
	also.Handle("/a/b/", http.StripPrefix("/a/b", d))
	also.Handle("/a/b", http.StripPrefix("/a/b", d))
	for i, h := range []http.Handler{whole, stripped, also} {
		for _, name := range []string{"", "page.js", "page.css", "world.js", "data.json"} {
			if w := (asks{method: "GET", url: "http://localhost/a/b/" + name}).do(h); w.Code != 200 || w.Body.Len() < 100 {
				t.Errorf("%d: %q: %d, %d bytes", i, name, w.Code, w.Body.Len())
			}
		}
		if w := (asks{method: "GET", url: "http://localhost/a/b/report/ws"}).do(h); w.Code != 403 {
			t.Errorf("%d: report/ws: %d", i, w.Code)
		}
		if w := (asks{method: "GET", url: "http://localhost/a/b/else"}).do(h); w.Code != 404 {
			t.Errorf("%d: else: %d", i, w.Code)
		}
	}
	if w := (asks{method: "GET", url: "http://localhost/a/b"}).do(also); w.Code != 307 || w.Header().Get("Location") != "./b/" {
		t.Errorf("without its slash: %d to %q", w.Code, w.Header().Get("Location"))
	}
}

func TestAssets(t *testing.T) {
	d := start(t, Config{})
	get := asks{method: "GET", url: "http://localhost/page.js", header: "Accept-Encoding: br, gzip;q=0.5"}
	w := get.do(d)
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Bytes()[0] != 0x1f || w.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("not compressed: %v", w.Header())
	}
	plain := asks{method: "GET", url: "http://localhost/page.js", header: "Accept-Encoding: gzip;q=0"}.do(d)
	if plain.Header().Get("Content-Encoding") != "" || plain.Body.Len() <= w.Body.Len() {
		t.Errorf("compressed for those who do not want it: %v", plain.Header())
	}
	get.header = "If-None-Match: " + w.Header().Get("ETag")
	if again := get.do(d); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("sent again: %d, %d bytes", again.Code, again.Body.Len())
	}
	if head := (asks{method: "HEAD", url: "http://localhost/page.js"}).do(d); head.Body.Len() > 0 || head.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD: %d bytes, %v", head.Body.Len(), head.Header())
	}
}

// All that is sent to show the page is small.
func TestPageIsSmall(t *testing.T) {
	sum := 0
	for name, a := range assets() {
		if name == "" {
			continue
		}
		if sum += len(a.gzip); name == "world.js" && len(a.plain) > 100_000 {
			t.Errorf("%s has %d bytes", name, len(a.plain))
		}
		if text := string(a.plain); strings.Contains(text, "innerHTML") || strings.Contains(text, "style=") || strings.Contains(text, "onclick=") {
			t.Errorf("%s has markup or styles that the policy forbids", name)
		}
	}
	t.Logf("the page has %d bytes, compressed", sum)
	if sum > 80_000 {
		t.Errorf("the page has %d bytes, compressed; want 80,000 at most", sum)
	}
}

// The page has words for each class, by the number that it goes by in counts.
func TestPageKnowsClasses(t *testing.T) {
	if list := "classes = ['" + strings.Join(classes[:], "', '") + "'];"; !strings.Contains(string(assets()["words.js"].plain), list) {
		t.Errorf("words.js has not: %s", list)
	}
}

func TestConfigErrors(t *testing.T) {
	for field, cfg := range map[string]Config{
		"Interval": {Interval: 1}, "Expire": {Expire: 1}, "Note": {Note: strings.Repeat("x", 301)}, "Tokens": {Tokens: []string{"short"}},
		"Hosts": {Hosts: []string{"http://x"}}, "MaxViewers": {MaxViewers: -1}, "MaxDetectors": {MaxDetectors: mostOf + 1},
	} {
		_, err := New(cfg)
		wrong, ok := err.(*ConfigError)
		if !ok || wrong.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
