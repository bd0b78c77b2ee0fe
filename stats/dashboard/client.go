package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// ClientConfig is how a [Client] reports. URL is needed.
type ClientConfig struct {
	// URL is where the dashboard's page is, such as "https://stats.example.org/nats/".
	URL string
	// Token is one of the dashboard's Tokens. "": it needs none.
	Token string
	// Detector is the ID of Record's reports, and of those given to Push that have none. Zero:
	// a new one, which is as it should be: it names this run of this program, and nobody.
	Detector stats.ID
	// NAT is asked before each of the client's own reports what this program is behind, and
	// Place where it is. nil: what Push told last.
	NAT   func() natprobe.Type
	Place func() Place
	// Interval is how often something is sent while there is nothing new, so that the detector
	// goes on to count, and how long events wait for company; less than the dashboard's Expire.
	// 1 second to 1 hour; 0: 15 seconds.
	Interval time.Duration
	// MaxBuffer is how many events wait at most while the dashboard cannot be reached. Record
	// drops the oldest then, and Push waits. 0: 1,000.
	MaxBuffer int
	// HTTPClient dials; its Timeout, if any, is for that alone. nil: http.DefaultClient.
	HTTPClient *http.Client
	// Header is sent with the request for the WebSocket, beside the token. nil: nothing.
	Header http.Header
	// OnError is told what goes wrong; the client tries again after that by itself. It must
	// not block. nil: nobody.
	OnError func(error)
}

// Client reports to a dashboard, for one program, by one WebSocket that it dials again when
// it is lost. What the dashboard has not confirmed is sent again; it knows events that come
// twice by their IDs. All methods are safe for several goroutines. Close ends it.
type Client struct {
	cfg    ClientConfig
	target string

	stop context.Context // ends with Close
	end  context.CancelFunc
	done chan struct{}
	wake chan struct{} // capacity 1: there is something to send at once

	mu      sync.Mutex
	closed  bool
	last    Report        // what goes with the next message, without events
	events  []stats.Event // the oldest first
	sent    int           // how many of events the dashboard was sent, and has not confirmed
	pushed  uint64        // pushes that are not confirmed need a message with this number or a later one
	told    uint64        // the number of the last confirmed message
	changed chan struct{} // closed, and made anew, when told or the room in events changes
	counts  ClientCounts
	refusal refusal
}

// refusal is the latest that was said about pushes.
type refusal struct {
	after, to uint64 // of the pushes that it is about
	err       error
}

// ClientCounts is what became of what a Client was given.
type ClientCounts struct {
	Sent    uint64 // events that the dashboard confirmed, whether it could use them or not
	Dropped uint64 // events that Record had no room for
	Refused uint64 // reports that the dashboard refused
	Dials   uint64 // how often the dashboard was dialled
}

// NewClient starts a client. The error is a *ConfigError.
func NewClient(cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return nil, badConfig("URL", "is no URL; give that of the page, such as https://stats.example.org/nats/")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, badConfig("URL", "scheme %q is unknown; give http or https", cut(u.Scheme))
	case cfg.Token != "" && !isToken(cfg.Token):
		return nil, badConfig("Token", "has %d characters or unfit ones; give 16 to 256 of A-Z a-z 0-9 - . _ ~ + / =", len(cfg.Token))
	case cfg.Interval != 0 && (cfg.Interval < time.Second || cfg.Interval > time.Hour):
		return nil, badConfig("Interval", "%v is out of range; give 1s to 1h", cfg.Interval)
	case cfg.MaxBuffer < 0 || cfg.MaxBuffer > mostOf:
		return nil, badConfig("MaxBuffer", "%d is out of range; give 1 to %d, or 0 for 1000", cfg.MaxBuffer, mostOf)
	}
	if cfg.Interval == 0 {
		cfg.Interval = 15 * time.Second
	}
	if cfg.MaxBuffer == 0 {
		cfg.MaxBuffer = 1000
	}
	if cfg.Detector.IsZero() {
		if cfg.Detector, err = stats.NewID(nil); err != nil {
			return nil, badConfig("Detector", "%v", err)
		}
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/")+"/report/ws", "", "", ""
	c := &Client{
		cfg: cfg, target: u.String(), done: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		last: Report{Detector: cfg.Detector},
	}
	c.stop, c.end = context.WithCancel(context.Background())
	go c.run()
	return c, nil
}

// Record hands over an event, to be sent within Interval. It fits as a session's
// Config.Record, and does not block: where there is no room, the oldest event is dropped.
func (c *Client) Record(e stats.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || e.Validate() != nil {
		c.counts.Dropped++
		return
	}
	if len(c.events) >= c.cfg.MaxBuffer {
		c.events = c.events[1:] // what is before it goes when there is no more room behind
		c.sent = max(0, c.sent-1)
		c.counts.Dropped++
	}
	c.events = append(c.events, e)
	if len(c.events)-c.sent >= MaxEvents {
		c.poke()
	}
}

// Push sends a report at once, and returns when the dashboard has taken it. Its Detector may
// be zero, as may its Time, which is that of sending anyway. The error is that of
// Report.Validate, a *ReportError of the dashboard's, ErrClosed, or that of ctx: then the
// report may still arrive, for what was given is sent when the dashboard can be reached again.
func (c *Client) Push(ctx context.Context, r Report) error {
	if r.Detector.IsZero() {
		r.Detector = c.cfg.Detector
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Detector != c.cfg.Detector {
		return badReport("detector", "is another than the client's; make a client for each")
	}
	number, err := c.add(ctx, r)
	if err != nil {
		return err
	}
	var refused error
	err = c.await(ctx, func() bool {
		if c.refusal.after < number && number <= c.refusal.to {
			refused = c.refusal.err
		}
		return c.told >= number
	})
	return cmp.Or(err, refused)
}

// add puts a report where the next message is made of, as soon as there is room.
func (c *Client) add(ctx context.Context, r Report) (number uint64, err error) {
	if len(r.Events) > c.cfg.MaxBuffer {
		return 0, badReport("events", "%d do not fit into MaxBuffer, %d", len(r.Events), c.cfg.MaxBuffer)
	}
	err = c.await(ctx, func() bool {
		if len(c.events)+len(r.Events) > c.cfg.MaxBuffer {
			return false
		}
		c.events = append(c.events, r.Events...)
		c.last.NAT = r.NAT
		if !r.Place.IsZero() {
			c.last.Place = r.Place
		}
		c.pushed++
		number = c.pushed
		c.poke()
		return true
	})
	return number, err
}

// await waits until something that is done under the lock succeeds.
func (c *Client) await(ctx context.Context, try func() bool) error {
	for {
		c.mu.Lock()
		ok, closed, changed := try(), c.closed, c.changed
		c.mu.Unlock()
		switch {
		case ok:
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// poke has what there is sent at once.
func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Counts returns what became of what the client was given so far.
func (c *Client) Counts() ClientCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Close sends what is waiting, until ctx ends, and ends the client, which has some seconds for
// its goodbye to the dashboard. The error says how many events were not sent.
func (c *Client) Close(ctx context.Context) error {
	c.poke()
	waited := c.await(ctx, func() bool { return len(c.events) == 0 && c.told >= c.pushed })
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.done
		return ErrClosed
	}
	c.closed = true
	left := len(c.events)
	c.notify()
	c.mu.Unlock()
	c.end()
	<-c.done
	if left > 0 {
		return fmt.Errorf("dashboard: %d events were not sent: %w", left, cmp.Or(waited, ErrClosed))
	}
	return nil
}

// notify tells those who wait that something changed. The caller holds the lock.
func (c *Client) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}
