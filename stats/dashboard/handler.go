package dashboard

import (
	"net/http"
	"path"
	"strings"
	"time"
)

// ServeHTTP serves what the package's documentation lists, by the ends of paths, so that it
// does not matter what they begin with.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	// Before it answers, the server waits for what is left of a body, however it is refused. It
	// takes the deadline back for the next request, and for a WebSocket; a wrapper of somebody's
	// may not know of deadlines.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestLimit))
	if !d.enter() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "the dashboard is closed", http.StatusServiceUnavailable)
		return
	}
	defer d.running.Done()
	if why := d.refusal(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	folder, name := path.Split(r.URL.Path)
	if name == "ws" && path.Base(folder) == "report" {
		name = "report/ws"
	}
	switch name {
	case "ws":
		d.serveViewer(w, r)
	case "report/ws":
		d.serveReporter(w, r)
	case "report":
		if allow(w, r, http.MethodPost) {
			d.servePost(w, r)
		}
	case "data.json":
		if allow(w, r, http.MethodGet, http.MethodHead) {
			w.Header().Set("Content-Type", "application/json")
			serveBytes(w, r, d.hub.snapshot(), nil)
		}
	default:
		a := d.assets[name]
		switch {
		case a == nil:
			http.Error(w, "there is no "+cut(name)+"; the page's path ends in a slash", http.StatusNotFound)
		case name == "" && !strings.HasSuffix(requested(r), "/"):
			// A prefix was taken off, and no slash was left: what the page refers to would be
			// looked for beside it.
			w.Header().Set("Location", "./"+path.Base(requested(r))+"/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case allow(w, r, http.MethodGet, http.MethodHead):
			a.serve(w, r)
		}
	}
}

// requested is the path that the client asked for, whatever was taken off since.
func requested(r *http.Request) string {
	if p, _, _ := strings.Cut(r.RequestURI, "?"); p != "" {
		return p
	}
	return r.URL.Path
}

// allow reports whether a request has one of some methods, and else refuses it.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "want "+strings.Join(methods, " or "), http.StatusMethodNotAllowed)
	return false
}
