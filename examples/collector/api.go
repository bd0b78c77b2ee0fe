package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/natsbus"
)

// maxBody is the most bytes of a request.
const maxBody = 1 << 20

// api is the HTTP side.
type api struct {
	bus       natsbus.Config
	counting  stats.Config
	publisher *natsbus.Publisher
	token     string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !a.allowed(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "give the collector's token: Authorization: Bearer TOKEN", http.StatusUnauthorized)
		return
	}
	var serve func(http.ResponseWriter, *http.Request)
	method := http.MethodGet
	switch r.URL.Path {
	case "/events":
		serve, method = a.events, http.MethodPost
	case "/table":
		serve = a.table
	case "/window":
		serve = a.window
	case "/ledger":
		serve = a.ledger
	case "/healthz":
		serve = a.health
	default:
		http.Error(w, "there are /events, /table, /window, /ledger and /healthz", http.StatusNotFound)
		return
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		http.Error(w, r.URL.Path+" wants "+method, http.StatusMethodNotAllowed)
		return
	}
	serve(w, r)
}

// allowed compares hashes, so that time tells nothing of the token.
func (a *api) allowed(r *http.Request) bool {
	if a.token == "" {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	x, y := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(a.token))
	return ok && subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// taken is what became of the events of a request.
type taken struct {
	Taken   int    `json:"taken"`
	Refused int    `json:"refused"`
	Error   string `json:"error,omitempty"` // why the first was refused
}

// events takes what is valid, and says what is not.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	var got taken
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxBody))
	lines.Buffer(nil, stats.MaxEvent+1)
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		var e stats.Event
		if err := json.Unmarshal(line, &e); err != nil {
			if got.Refused++; got.Error == "" {
				got.Error = fmt.Sprintf("line %d: %v", n, err)
			}
			continue
		}
		a.publisher.Record(e)
		got.Taken++
	}
	status := http.StatusAccepted
	if err := lines.Err(); err != nil {
		got.Error = fmt.Sprintf("after %d events: %v; send lines of at most %d bytes, and %d in all", got.Taken, err, stats.MaxEvent, maxBody)
		status = http.StatusRequestEntityTooLarge
	} else if got.Taken == 0 && got.Refused > 0 {
		status = http.StatusBadRequest
	}
	answer(w, status, got)
}

// read loads what the aggregators have stored.
func (a *api) read(w http.ResponseWriter, r *http.Request) *natsbus.Fleet {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	fleet, err := natsbus.Read(ctx, a.bus, a.counting)
	if err != nil {
		http.Error(w, "NATS: "+err.Error(), http.StatusServiceUnavailable)
		return nil
	}
	return fleet
}

func (a *api) table(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	var show func(*stats.Table) string
	kind := "text/plain; charset=utf-8"
	switch format {
	case "", "text":
		show = (*stats.Table).Text
	case "markdown":
		show = (*stats.Table).Markdown
	case "csv":
		show, kind = (*stats.Table).CSV, "text/csv; charset=utf-8"
	case "json":
	default:
		http.Error(w, fmt.Sprintf("format %.20q: want text, markdown, csv or json", format), http.StatusBadRequest)
		return
	}
	fleet := a.read(w, r)
	if fleet == nil {
		return
	}
	table := fleet.Snapshot().Table()
	if show == nil {
		answer(w, http.StatusOK, table)
		return
	}
	w.Header().Set("Content-Type", kind)
	fmt.Fprint(w, show(table))
}

func (a *api) window(w http.ResponseWriter, r *http.Request) {
	if fleet := a.read(w, r); fleet != nil {
		answer(w, http.StatusOK, fleet.Snapshot())
	}
}

func (a *api) ledger(w http.ResponseWriter, r *http.Request) {
	if fleet := a.read(w, r); fleet != nil {
		s := a.publisher.Stats()
		answer(w, http.StatusOK, struct {
			stats.Ledger
			Missing   []int  `json:"shards_without_state"`
			Published uint64 `json:"published_here"`
			Dropped   uint64 `json:"dropped_here"`
			Waiting   uint64 `json:"waiting_here"`
		}{fleet.Ledger(), append([]int{}, fleet.Missing...), s.Published, s.Dropped, s.Waiting})
	}
}

func (a *api) health(w http.ResponseWriter, _ *http.Request) {
	if !a.bus.Conn.IsConnected() {
		http.Error(w, "NATS is away", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func answer(w http.ResponseWriter, status int, what any) {
	body, err := json.Marshal(what)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
