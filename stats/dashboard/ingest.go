package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// Answer is what a detector is told about a message of reports.
type Answer struct {
	Accepted int    `json:"accepted"`         // reports
	Refused  int    `json:"refused"`          // reports
	Events   int    `json:"events"`           // of the accepted reports, that are valid
	Bad      int    `json:"bad_events"`       // of the accepted reports, that are not
	Error    string `json:"error,omitempty"`  // what is wrong with the first thing that is
	Closed   bool   `json:"closed,omitempty"` // the message was no list of reports, and the WebSocket ends
}

// ingest takes in a message.
func (d *Dashboard) ingest(data []byte, r *http.Request) (a Answer, err error) {
	list, err := split(data)
	if err != nil {
		d.refused.Add(1)
		return Answer{Refused: 1, Error: err.Error()}, err
	}
	fail := func(err error) {
		if err != nil && a.Error == "" {
			a.Error = err.Error()
		}
	}
	var (
		seen   Place
		looked bool
	)
	for _, raw := range list {
		report, bad, err := decodeReport(raw)
		if err != nil {
			d.refused.Add(1)
			a.Refused++
			fail(err)
			continue
		}
		if report.Place.IsZero() && !looked && d.set.Locate != nil {
			seen, looked = d.locate(r), true
		}
		if err := d.take(&report, seen); err != nil {
			a.Refused++
			fail(err)
			continue
		}
		d.badEvents.Add(uint64(bad.n))
		a.Accepted++
		a.Events += len(report.Events)
		a.Bad += bad.n
		fail(bad.first)
	}
	return a, nil
}

// locate looks up where a request comes from.
func (d *Dashboard) locate(r *http.Request) Place {
	addr := d.set.Addr(r).Unmap()
	if !addr.IsValid() {
		return Place{}
	}
	place, ok := d.set.Locate(addr)
	if !ok {
		return Place{}
	}
	return place
}

// authorised refuses requests without a token.
func (d *Dashboard) authorised(w http.ResponseWriter, r *http.Request) bool {
	if d.mayReport(r) {
		return true
	}
	d.unauthorised.Add(1)
	if len(d.set.tokens) == 0 && !d.set.Open {
		http.Error(w, "reports are not taken here: the dashboard's Config has no Tokens", http.StatusForbidden)
		return false
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="reports"`)
	http.Error(w, "want a valid token, as Authorization: Bearer TOKEN", http.StatusUnauthorized)
	return false
}

func (d *Dashboard) servePost(w http.ResponseWriter, r *http.Request) {
	if !d.authorised(w, r) {
		return
	}
	// Other types a page from elsewhere could send without asking.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "want Content-Type: application/json", http.StatusUnsupportedMediaType)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessage))
	if err != nil {
		d.refused.Add(1)
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, "too long; send at most 256 KiB at a time", http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, "the body did not arrive", http.StatusBadRequest)
		}
		return
	}
	a, err := d.ingest(data, r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil || a.Accepted == 0 && a.Refused > 0 {
		w.WriteHeader(http.StatusBadRequest)
	}
	_ = json.NewEncoder(w).Encode(a) // if the client has gone, there is nobody to tell
}

// serveReporter takes messages from a detector, and answers each.
func (d *Dashboard) serveReporter(w http.ResponseWriter, r *http.Request) {
	if !d.authorised(w, r) || !upgrades(w, r) {
		return
	}
	if d.reporters.Add(1) > int64(d.set.MaxReporters) {
		d.reporters.Add(-1)
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many detectors are connected; see MaxReporters of the dashboard's Config", http.StatusServiceUnavailable)
		return
	}
	defer d.reporters.Add(-1)
	ws, err := websocket.Accept(w, r, nil) // it says itself what is wrong
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(MaxMessage)
	gone := make(chan struct{})
	stop := context.AfterFunc(d.stop, func() {
		defer close(gone)
		_ = ws.Close(websocket.StatusGoingAway, "the dashboard is closed")
	})
	defer func() {
		if !stop() {
			<-gone
		}
	}()
	for {
		a, err := d.serveMessage(ws, r)
		if a.Closed {
			_ = ws.Close(websocket.StatusInvalidFramePayloadData, "that is no list of reports")
		}
		if a.Closed || err != nil {
			return
		}
	}
}

// serveMessage takes one message. A detector that says nothing for longer than it counts is
// gone. Its contexts are none of Close's, which would cut the connection without a word.
func (d *Dashboard) serveMessage(ws *websocket.Conn, r *http.Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), max(d.set.Expire, time.Minute))
	defer cancel()
	kind, data, err := ws.Read(ctx)
	if err != nil {
		return Answer{}, err
	}
	if kind != websocket.MessageText {
		data = nil // as good as no message
	}
	a, err := d.ingest(data, r)
	a.Closed = err != nil
	text, err := json.Marshal(a)
	if err != nil {
		return a, err
	}
	return a, within(context.Background(), func(ctx context.Context) error { return ws.Write(ctx, websocket.MessageText, text) })
}
