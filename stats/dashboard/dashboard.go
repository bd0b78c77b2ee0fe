package dashboard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Dashboard serves the page, and takes reports. It is an http.Handler; all methods are safe
// for several goroutines. Close ends it.
type Dashboard struct {
	set      settings
	started  time.Time
	fleet    *fleet
	recent   *recent
	timeline *timeline // of the goroutine that paints
	hub      *hub
	assets   map[string]*asset

	stop      context.Context // ends with Close
	end       context.CancelFunc
	done      chan struct{} // closed when Close is through
	mu        sync.Mutex    // held while closed and running change
	closed    bool
	running   sync.WaitGroup // the painter, requests and WebSockets
	reporters atomic.Int64

	accepted, refused, unauthorised, skewed, badEvents atomic.Uint64
}

// New returns a Dashboard. The error is a *ConfigError.
func New(cfg Config) (*Dashboard, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	d := &Dashboard{
		set: set, started: set.Now(), fleet: newFleet(set.MaxDetectors, set.Expire), recent: newRecent(),
		timeline: newTimeline(set.Recorder), assets: assets(), done: make(chan struct{}),
	}
	d.hub = newHub(frame{})
	now := set.Now()
	d.hub.now = frame{seq: 1, time: now.UTC(), pic: d.paint(now)}
	d.stop, d.end = context.WithCancel(context.Background())
	d.running.Go(d.run)
	return d, nil
}

// run paints a picture each Interval.
func (d *Dashboard) run() {
	tick := time.NewTicker(d.set.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := d.set.Now()
			d.hub.publish(frame{time: now.UTC(), pic: d.paint(now)})
		case <-d.stop.Done():
			return
		}
	}
}

// Close ends all connections, and returns when every goroutine has ended, or when ctx does,
// whose error it returns then. Requests that come later are refused.
func (d *Dashboard) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		d.end()
		go func() {
			defer close(d.done)
			d.running.Wait()
		}()
	}
	d.mu.Unlock()
	select {
	case <-d.done:
		return nil
	default:
	}
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a request among those that Close waits for; false: it is closed.
func (d *Dashboard) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.running.Add(1)
	}
	return !d.closed
}

// Record counts an event of this program's own, and shows it among the latest attempts. It
// fits as a session's Config.Record, and does not block.
func (d *Dashboard) Record(e stats.Event) {
	d.set.Recorder.Record(e)
	now := d.set.Now()
	if e.Validate() != nil || e.Time.Before(now.Add(-timelineSpan)) {
		return
	}
	if e.Time.After(now) {
		e.Time = now // its clock is wrong; the recorder does the same
	}
	d.recent.take(&e)
}

// Report takes in a report, as if a detector of this program had sent it. The error is a
// *ReportError: it is not valid, or there is no room for another detector.
func (d *Dashboard) Report(r Report) error {
	if err := r.Validate(); err != nil {
		d.refused.Add(1)
		return err
	}
	return d.take(&r, Place{})
}

// skew is how far a detector's clock may be off before its events' times are corrected by it.
const skew = time.Minute

// take takes in a valid report.
func (d *Dashboard) take(r *Report, seen Place) error {
	now := d.set.Now()
	place := r.Place
	if place.IsZero() {
		place = seen
	}
	if !d.fleet.hear(r.Detector, detector{heard: now, nat: r.NAT, place: place}) {
		d.refused.Add(1)
		return badReport("detector", "there is no room for more than %d; see MaxDetectors of the dashboard's Config", d.set.MaxDetectors)
	}
	d.accepted.Add(1)
	var off time.Duration
	if !r.Time.IsZero() {
		if off = now.Sub(r.Time); off > -skew && off < skew {
			off = 0
		} else {
			d.skewed.Add(1)
		}
	}
	for _, e := range r.Events {
		e.Time = e.Time.Add(off)
		d.Record(e)
	}
	return nil
}

// Ledger accounts for what detectors sent.
type Ledger struct {
	Accepted     uint64 `json:"accepted"`     // reports
	Refused      uint64 `json:"refused"`      // reports that were not valid, or that there was no room for
	Unauthorised uint64 `json:"unauthorised"` // messages without a valid token
	Skewed       uint64 `json:"skewed"`       // of the accepted: the detector's clock was off by a minute or more, and its events' times were corrected
	BadEvents    uint64 `json:"bad_events"`   // of accepted reports, that were not valid
	NoRoom       uint64 `json:"no_room"`      // of the refused: there were too many detectors
	Viewers      int    `json:"viewers"`      // pages that are open now
	Behind       uint64 `json:"behind"`       // how often a page was too slow and got a snapshot instead
}

// Ledger returns what came so far. Of events, the recorder's Ledger tells more.
func (d *Dashboard) Ledger() Ledger {
	l := Ledger{
		Accepted: d.accepted.Load(), Refused: d.refused.Load(), Unauthorised: d.unauthorised.Load(), Skewed: d.skewed.Load(),
		BadEvents: d.badEvents.Load(),
	}
	d.fleet.mu.Lock()
	l.NoRoom = d.fleet.full
	d.fleet.mu.Unlock()
	l.Viewers, l.Behind = d.hub.counts()
	return l
}
