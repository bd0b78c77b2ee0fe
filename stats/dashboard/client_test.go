package dashboard

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// reporter is a client of the rig's dashboard.
func (r *rig) reporter(cfg ClientConfig) *Client {
	r.Helper()
	cfg.URL = base
	if cfg.Token == "" {
		cfg.Token = testToken
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = r.client
	}
	c, err := NewClient(cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Close(ctx) // what was not sent does not matter here
	})
	return c
}

func TestClientPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		c := r.reporter(ClientConfig{OnError: func(err error) { t.Error(err) }})
		report := Report{NAT: natprobe.TypeSymmetric, Place: mustPlace(Country("IS")), Events: []stats.Event{connected(t, 1, time.Now(), stats.PairHost)}}
		if err := c.Push(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		if l, e := r.d.Ledger(), r.d.set.Recorder.Ledger(); l.Accepted == 0 || e.Recorded != 1 {
			t.Errorf("%+v, %+v", l, e)
		}
		// It goes on to be heard, whether there is anything new or not.
		time.Sleep(10 * time.Minute)
		if got := r.d.fleet.count(time.Now(), 9); got.classes[natprobe.TypeSymmetric] != 1 {
			t.Errorf("after ten minutes: %+v", got)
		}
		for i := range uint64(250) {
			c.Record(connected(t, i+10, time.Now(), stats.PairHost))
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if e := r.d.set.Recorder.Ledger(); e.Recorded != 251 {
			t.Errorf("%+v", e)
		}
		if n := c.Counts(); n.Sent != 251 || n.Dropped != 0 || n.Dials != 1 {
			t.Errorf("%+v", n)
		}
		if err := c.Push(t.Context(), report); !errors.Is(err, ErrClosed) {
			t.Errorf("pushed after Close: %v", err)
		}
	})
}

// What cannot be delivered waits, within bounds, and arrives once when it can.
func TestClientRedials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		var down atomic.Bool
		down.Store(true)
		transport := r.client.Transport.(*http.Transport).Clone()
		dial := transport.DialContext
		failed := errors.New("no network")
		transport.DialContext = nil
		next := &http.Transport{}
		next.DialContext = dial
		flaky := roundTripper(func(req *http.Request) (*http.Response, error) {
			if down.Load() {
				return nil, failed
			}
			return next.RoundTrip(req)
		})
		var errs atomic.Int64
		c := r.reporter(ClientConfig{MaxBuffer: 150, HTTPClient: &http.Client{Transport: flaky}, OnError: func(error) { errs.Add(1) }})
		for i := range uint64(200) {
			c.Record(connected(t, i, time.Now(), stats.PairHost))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := c.Push(ctx, Report{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pushed into the void: %v", err)
		}
		if dials := c.Counts().Dials; dials < 3 || dials > 6 {
			t.Errorf("%d dials in 10 seconds", dials)
		}
		down.Store(false)
		if err := c.Push(t.Context(), Report{NAT: natprobe.TypeOpen, Events: []stats.Event{connected(t, 999, time.Now(), stats.PairHost)}}); err != nil {
			t.Error(err)
		}
		if n := c.Counts(); n.Sent != 151 || n.Dropped != 50 {
			t.Errorf("%+v", n)
		}
		if e := r.d.set.Recorder.Ledger(); e.Recorded != 151 || e.Duplicates != 0 || errs.Load() == 0 {
			t.Errorf("%+v, %d errors", e, errs.Load())
		}
		next.CloseIdleConnections()
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A dashboard that closes is noticed at once, and does not wait for the client.
func TestClientNoticesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{})
		told := make(chan error, 10)
		c := r.reporter(ClientConfig{Interval: time.Hour, OnError: func(err error) { told <- err }})
		if err := c.Push(t.Context(), Report{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is at rest
		began := time.Now()
		if err := r.d.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-told; websocket.CloseStatus(err) != websocket.StatusGoingAway || time.Since(began) > 0 {
			t.Errorf("told after %v: %v", time.Since(began), err)
		}
	})
}

// It is said why the dashboard wants nothing of us.
func TestClientRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, Config{MaxDetectors: 1})
		told := make(chan error, 10)
		stranger := r.reporter(ClientConfig{Token: "not-one-of-the-tokens", OnError: func(err error) { told <- err }})
		stranger.Record(connected(t, 1, time.Now(), stats.PairHost))
		if err := <-told; !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
		c := r.reporter(ClientConfig{})
		if err := c.Push(t.Context(), Report{}); err != nil {
			t.Error(err)
		}
		second := r.reporter(ClientConfig{})
		wrong, ok := errors.AsType[*ReportError](second.Push(t.Context(), Report{}))
		if !ok || !strings.HasPrefix(wrong.Error(), "dashboard: report: detector: there is no room") {
			t.Errorf("a second is told %v", wrong)
		}
		synctest.Wait()
		if n := second.Counts(); n.Refused == 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestClientConfigErrors(t *testing.T) {
	for field, cfg := range map[string]ClientConfig{
		"URL": {URL: "ftp://x/"}, "Token": {URL: base, Token: "x"}, "Interval": {URL: base, Interval: 1}, "MaxBuffer": {URL: base, MaxBuffer: -1},
	} {
		_, err := NewClient(cfg)
		if wrong, ok := err.(*ConfigError); !ok || wrong.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
