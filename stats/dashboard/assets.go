package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// requestLimit is how long the body of a request, or of the answer to one, may take.
// WebSockets have limits of their own.
const requestLimit = 10 * time.Second

//go:embed page
var page embed.FS

// asset is a file of the page, as it is sent.
type asset struct {
	kind        string // Content-Type
	tag         string // ETag
	plain, gzip []byte
}

// assets are the page's files by name, compressed once; "" is the page itself.
var assets = sync.OnceValue(func() map[string]*asset {
	kinds := map[string]string{
		".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
		".svg": "image/svg+xml",
	}
	entries, err := page.ReadDir("page")
	if err != nil {
		panic(err) // it is in this binary
	}
	all := make(map[string]*asset)
	for _, entry := range entries {
		name := entry.Name()
		data, err := page.ReadFile(path.Join("page", name))
		kind := kinds[path.Ext(name)]
		if err != nil || kind == "" {
			panic("dashboard: page/" + name + " is no file of the page")
		}
		sum := sha256.Sum256(data)
		var packed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is valid
		_, _ = w.Write(data)                                       // memory takes everything
		_ = w.Close()
		all[name] = &asset{kind: kind, tag: `"` + hex.EncodeToString(sum[:8]) + `"`, plain: data, gzip: packed.Bytes()}
	}
	all[""] = all["index.html"]
	return all
})

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", a.tag)
	if strings.Contains(r.Header.Get("If-None-Match"), a.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.kind)
	serveBytes(w, r, a.plain, a.gzip)
}

// serveBytes sends what it is given in the form that the client takes.
func serveBytes(w http.ResponseWriter, r *http.Request, plain, packed []byte) {
	w.Header().Set("Vary", "Accept-Encoding")
	data := plain
	if packed != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		data = packed
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if r.Method == http.MethodHead {
		return
	}
	// The deadline is taken back, for the connection may serve other requests. A wrapper of
	// somebody's may not know of deadlines; if the client has gone, there is nobody to tell.
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(requestLimit))
	_, _ = w.Write(data)
	_ = c.Flush()
	_ = c.SetWriteDeadline(time.Time{})
}

// acceptsGzip reads an Accept-Encoding header (RFC 9110 section 12.5.3).
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		_, parsed, err := mime.ParseMediaType("x/y;" + params)
		return params == "" || err == nil && strings.Trim(parsed["q"], "0.") != ""
	}
	return false
}
