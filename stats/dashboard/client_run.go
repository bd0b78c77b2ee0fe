package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	dialLimit  = 15 * time.Second
	redialMin  = time.Second // doubled with each failure, up to
	redialMax  = time.Minute // and shortened by up to a half, at random
	answerMost = 8 << 10     // bytes
)

// run keeps a connection as long as the client lives.
func (c *Client) run() {
	defer close(c.done)
	wait := redialMin
	for {
		began := time.Now()
		err := c.connect()
		if c.stop.Err() != nil {
			return
		}
		c.cfg.tell(err)
		if time.Since(began) > redialMax {
			wait = redialMin
		}
		pause := time.NewTimer(wait - rand.N(wait/2))
		select {
		case <-pause.C:
		case <-c.stop.Done():
			pause.Stop()
			return
		}
		wait = min(2*wait, redialMax)
	}
}

func (cfg *ClientConfig) tell(err error) {
	if cfg.OnError != nil {
		cfg.OnError(err)
	}
}

// connect dials, and sends until something goes wrong.
func (c *Client) connect() error {
	ws, err := c.dial()
	if err != nil {
		return err
	}
	l := c.listen(ws)
	defer l.end()
	for {
		if err := c.exchange(l); err != nil {
			return err
		}
		if c.more() {
			continue
		}
		pause := time.NewTimer(c.cfg.Interval)
		select {
		case <-c.wake:
		case <-pause.C:
		case <-l.ctx.Done():
			pause.Stop()
			if c.stop.Err() != nil {
				return nil
			}
			return c.lost(context.Cause(l.ctx))
		}
		pause.Stop()
	}
}

// line is a connection on which somebody listens all the time, so that its end is noticed,
// and answered, when it comes.
type line struct {
	ws      *websocket.Conn
	ctx     context.Context // ends with the connection, or with the client
	answers chan []byte
	done    chan struct{}
	cancel  context.CancelCauseFunc
}

func (c *Client) listen(ws *websocket.Conn) *line {
	ws.SetReadLimit(answerMost)
	l := &line{ws: ws, answers: make(chan []byte), done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(c.stop)
	go func() {
		defer close(l.done)
		for {
			_, data, err := ws.Read(context.Background()) // ended by end
			if err != nil {
				l.cancel(err)
				return
			}
			select {
			case l.answers <- data:
			case <-l.ctx.Done():
				return
			}
		}
	}()
	return l
}

// end says goodbye, if the connection is still there.
func (l *line) end() {
	l.cancel(nil)
	_ = l.ws.Close(websocket.StatusNormalClosure, "")
	<-l.done
}

func (c *Client) lost(err error) error {
	return fmt.Errorf("dashboard: the connection to %s was lost: %w", c.target, err)
}

func (c *Client) dial() (*websocket.Conn, error) {
	c.mu.Lock()
	c.counts.Dials++
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.stop, dialLimit)
	defer cancel()
	header := c.cfg.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if c.cfg.Token != "" {
		header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	ws, resp, err := websocket.Dial(ctx, c.target, &websocket.DialOptions{HTTPClient: c.cfg.HTTPClient, HTTPHeader: header})
	if err == nil {
		return ws, nil
	}
	if resp != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden) {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		err = fmt.Errorf("%w (HTTP status %d: %s)", ErrRefused, resp.StatusCode, cut(string(text)))
	}
	return nil, fmt.Errorf("dashboard: dialling %s: %w", c.target, err)
}

// more reports whether there is something that should not wait.
func (c *Client) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events) >= MaxEvents || c.told < c.pushed
}

// next is the report that is to be sent now.
func (c *Client) next() (r Report, number uint64) {
	var (
		nat   = c.cfg.NAT
		place = c.cfg.Place
	)
	c.mu.Lock()
	r, number = c.last, c.pushed
	c.sent = min(len(c.events), MaxEvents)
	if c.sent < len(c.events) {
		// The last of those that were pushed goes with a later message.
		number = c.told
	}
	r.Events = slices.Clone(c.events[:c.sent])
	c.mu.Unlock()
	r.Time = time.Now()
	if nat != nil {
		r.NAT = nat()
	}
	if place != nil {
		r.Place = place()
	}
	return r, number
}

// exchange sends a report, and takes the answer.
func (c *Client) exchange(l *line) error {
	r, number := c.next()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, writeLimit)
	defer cancel()
	if err := l.ws.Write(ctx, websocket.MessageText, data); err != nil {
		return c.lost(err)
	}
	select {
	case data = <-l.answers:
	case <-ctx.Done():
		return c.lost(context.Cause(ctx))
	}
	var a Answer
	if err := json.Unmarshal(data, &a); err != nil {
		return fmt.Errorf("dashboard: the answer of %s is none: %w", c.target, err)
	}
	c.confirm(a, number)
	if a.Error != "" {
		c.cfg.tell(errors.New("dashboard: " + c.target + " says: " + cut(a.Error)))
	}
	return nil
}

// confirm takes in that the dashboard has had its say on what was sent. What it refused it
// would refuse again.
func (c *Client) confirm(a Answer, number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Refused += uint64(a.Refused)
	c.counts.Sent += uint64(c.sent)
	c.events = c.events[c.sent:]
	c.sent = 0
	if a.Refused > 0 {
		c.refusal = refusal{c.told, number, badReport("", "%s", cut(strings.TrimPrefix(a.Error, "dashboard: report: ")))}
	}
	c.told = max(c.told, number)
	c.notify()
}
