package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	// writeLimit is how long a viewer may take for a message: one who takes longer is gone.
	writeLimit = 10 * time.Second
	// pingEvery is how often he is asked whether he is there.
	pingEvery = 30 * time.Second
)

// serveViewer sends a page what it shows.
func (d *Dashboard) serveViewer(w http.ResponseWriter, r *http.Request) {
	if !upgrades(w, r) {
		return
	}
	v := d.hub.join(d.set.MaxViewers)
	if v == nil {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many pages are open; see MaxViewers of the dashboard's Config", http.StatusServiceUnavailable)
		return
	}
	defer d.hub.leave(v)
	ws, err := websocket.Accept(w, r, nil) // it says itself what is wrong
	if err != nil {
		return
	}
	defer ws.CloseNow()
	// A page has nothing to say. The context is none of Close's, which would cut the
	// connection without a word.
	ctx := ws.CloseRead(context.Background())
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-v.wake:
			if data := d.hub.take(v); data != nil {
				err = within(ctx, func(ctx context.Context) error { return ws.Write(ctx, websocket.MessageText, data) })
			}
		case <-ping.C:
			err = within(ctx, ws.Ping)
		case <-ctx.Done():
			return
		case <-d.stop.Done():
			_ = ws.Close(websocket.StatusGoingAway, "the dashboard is closed")
			return
		}
		if err != nil {
			return
		}
	}
}

func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return do(ctx)
}

// upgrades reports whether a request asks for a WebSocket, and else refuses it.
func upgrades(w http.ResponseWriter, r *http.Request) bool {
	if !allow(w, r, http.MethodGet) {
		return false
	}
	if r.Header.Get("Sec-WebSocket-Key") == "" {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket; for the same by GET, ask for data.json", http.StatusUpgradeRequired)
		return false
	}
	return true
}
