package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// post sends a message of reports.
func (r *rig) post(body []byte) (Answer, int) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, base+"report", bytes.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+testToken)
	resp, err := r.client.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	var a Answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		r.Fatal(err)
	}
	return a, resp.StatusCode
}

// A page gets a snapshot at once, and then, each interval, what is new.
func TestSnapshotThenDeltas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		page := r.watch()
		if m := page.next(); m.Type != "snapshot" {
			t.Fatalf("the first message is a %s", m.Type)
		}
		began := time.Now()
		for i := range uint64(20) {
			report := Report{
				Detector: newID(t, i), NAT: natprobe.Type(i % 8), Time: time.Now(), Place: mustPlace(Country([]string{"DE", "FR"}[i/5%2])),
				Events: []stats.Event{connected(t, i, time.Now(), []stats.PairKind{stats.PairHost, stats.PairRelay}[i%2])},
			}
			body, err := json.Marshal(report)
			if err != nil {
				t.Fatal(err)
			}
			if a, status := r.post(body); status != 200 || a != (Answer{Accepted: 1, Events: 1}) {
				t.Fatalf("%d: %+v", status, a)
			}
			if i%4 == 3 {
				page.next()
				if !same(page.pic, r.d.hub.now.pic) || page.seq != r.d.hub.now.seq {
					t.Fatalf("the page has other things than the snapshot:\n%s\n%s", page.pic, r.d.hub.now.pic)
				}
			}
		}
		if took := time.Since(began); took != 5*5*time.Second {
			t.Errorf("5 deltas took %v", took)
		}
		if got := string(page.pic["places"]["DE"]); got != "[[52,10],[1,1,2,2,2,1,1,0]]" {
			t.Errorf("DE: %s", got)
		}
		var all outcome
		if err := json.Unmarshal(page.pic["outcomes"]["all"], &all); err != nil || all.Attempts != 20 || all.Direct.K != 10 || all.Relayed.K != 10 {
			t.Errorf("%+v, %v", all, err)
		}
		if len(page.pic["recent"]) != 20 || len(page.pic["matrix"]) != 1 || len(page.pic["timeline"]) == 0 {
			t.Errorf("%d attempts, %d pairs, %d panes", len(page.pic["recent"]), len(page.pic["matrix"]), len(page.pic["timeline"]))
		}
		// The same by GET.
		resp, err := r.client.Get(base + "data.json")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var m message
		if err := json.NewDecoder(resp.Body).Decode(&m); err != nil || m.Type != "snapshot" || !same(m.Sections, page.pic) {
			t.Errorf("data.json is a %q of %d sections, %v", m.Type, len(m.Sections), err)
		}
	})
}

// One who does not read holds up nobody, is sent nothing twice, and goes.
func TestStalledViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{Interval: time.Second})
		quick, stalled := r.watch(), r.watch()
		quick.next()
		stalled.next()
		began := time.Now()
		for range 5 { // the stalled one reads nothing
			quick.next()
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("5 deltas took %v", took)
		}
		if m := stalled.next(); m.Type != "delta" || m.Seq != 2 {
			t.Errorf("first %s %d, which was on its way", m.Type, m.Seq)
		}
		if m := stalled.next(); m.Type != "snapshot" || m.Seq < 6 || !same(stalled.pic, quick.pic) {
			t.Errorf("then %s %d, want a snapshot of the present", m.Type, m.Seq)
		}
		for range 15 {
			quick.next()
		}
		synctest.Wait()
		if l := r.d.Ledger(); l.Viewers != 1 || l.Behind == 0 {
			t.Errorf("the stalled one is still there after %v: %+v", writeLimit, l)
		}
	})
}

func TestMostViewers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{MaxViewers: 2, MaxReporters: 1})
		r.watch().next()
		page := r.watch()
		page.next()
		_, resp, err := websocket.Dial(t.Context(), base+"ws", &websocket.DialOptions{HTTPClient: r.client})
		if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a third is let in: %v", err)
		}
		_ = page.ws.CloseNow()
		synctest.Wait()
		r.watch().next()

		header := http.Header{"Authorization": {"Bearer " + testToken}}
		options := &websocket.DialOptions{HTTPClient: r.client, HTTPHeader: header}
		ws, _, err := websocket.Dial(t.Context(), base+"report/ws", options)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if _, resp, err = websocket.Dial(t.Context(), base+"report/ws", options); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a second detector is let in: %v", err)
		}
	})
}

// A page that says something is none of ours.
func TestTalkativeViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		page := r.watch()
		page.next()
		if err := page.ws.Write(t.Context(), websocket.MessageText, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := page.read(); err != nil {
				if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
					t.Error(err)
				}
				return
			}
		}
	})
}

// Detectors may send many reports by one WebSocket. Each message is answered.
func TestReportsByWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		dial := func() *websocket.Conn {
			ws, _, err := websocket.Dial(t.Context(), base+"report/ws", &websocket.DialOptions{
				HTTPClient: r.client, HTTPHeader: http.Header{"Authorization": {"bearer " + testToken}},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ws.CloseNow() })
			return ws
		}
		say := func(ws *websocket.Conn, text string) (Answer, error) {
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
				return Answer{}, err
			}
			_, data, err := ws.Read(t.Context())
			var a Answer
			if err == nil {
				err = json.Unmarshal(data, &a)
			}
			return a, err
		}
		ws := dial()
		if a, err := say(ws, reportText); err != nil || a != (Answer{Accepted: 1}) {
			t.Errorf("%+v, %v", a, err)
		}
		if a, err := say(ws, `[`+reportText+`,{"detector":7},`+reportText+`]`); err != nil || a.Accepted != 2 || a.Refused != 1 || a.Error == "" {
			t.Errorf("%+v, %v", a, err)
		}
		if a, err := say(ws, `{`); err != nil || a.Refused != 1 {
			t.Errorf("%+v, %v", a, err)
		}
		if a, err := say(ws, `[`); err != nil || !a.Closed {
			t.Errorf("%+v, %v", a, err)
		}
		if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusInvalidFramePayloadData {
			t.Error(err)
		}
		ws = dial()
		_ = ws.Write(t.Context(), websocket.MessageText, bytes.Repeat([]byte(" "), MaxMessage+1)) // may be cut off already
		if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("an oversized frame: %v", err)
		}
		ws = dial()
		if err := ws.Write(t.Context(), websocket.MessageBinary, []byte(reportText)); err != nil {
			t.Fatal(err)
		}
		before := r.d.Ledger().Accepted
		if _, data, err := ws.Read(t.Context()); err != nil || !strings.Contains(string(data), `"closed":true`) || !strings.Contains(string(data), `"accepted":0`) || r.d.Ledger().Accepted != before {
			t.Errorf("a binary message: %s, %v", data, err)
		}
		ws = dial()
		began := time.Now()
		if _, _, err := ws.Read(t.Context()); err == nil || time.Since(began) != time.Minute {
			t.Errorf("a silent one is held for %v: %v", time.Since(began), err)
		}
	})
}

// One who sends no more of a body than its head is not waited for, whatever it is refused for.
func TestSlowBodies(t *testing.T) {
	for path, want := range map[string]int{"report": http.StatusUnauthorized, "data.json": http.StatusMethodNotAllowed, "": http.StatusMethodNotAllowed} {
		synctest.Test(t, func(t *testing.T) {
			r := serve(t, Config{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			body, never := io.Pipe()
			context.AfterFunc(ctx, func() { _ = never.Close() })
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = 1000
			began := time.Now()
			resp, err := r.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if took := time.Since(began); took > requestLimit || resp.StatusCode != want {
				t.Errorf("%q is answered by %s after %v", path, resp.Status, took)
			}
		})
	}
}

// Many may ask for the same snapshot at a time; the race detector looks on.
func TestManyAskForData(t *testing.T) {
	d := start(t, Config{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if w := (asks{method: "GET", url: "http://localhost/data.json"}).do(d); w.Code != 200 || !strings.HasSuffix(w.Body.String(), "}\n") {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
	}
	all.Wait()
}

// Close tells everybody, and nothing is left running: the bubble sees to that.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		page := r.watch()
		page.next()
		detector, _, err := websocket.Dial(t.Context(), base+"report/ws", &websocket.DialOptions{
			HTTPClient: r.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken}},
		})
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error)
		go func() { closed <- r.d.Close(context.Background()) }()
		for _, ws := range []*websocket.Conn{page.ws, detector} {
			if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("closed by %v", err)
			}
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		resp, err := r.client.Get(base)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, _ = io.Copy(io.Discard, resp.Body); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a closed dashboard answers %d", resp.StatusCode)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.d.Close(ended); err != nil {
			t.Errorf("closed again: %v", err)
		}
	})
}
