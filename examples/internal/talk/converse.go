package talk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// link carries whole messages to the peer and back.
type link interface {
	send(b []byte) error
	// receive blocks until a message comes, or the link is closed.
	receive() ([]byte, error)
	// close unblocks receive.
	close() error
}

const (
	sendEvery   = 50 * time.Millisecond
	resendAfter = 500 * time.Millisecond
)

// conversation is a count of what was sent and what came back.
type conversation struct {
	c       *Config
	l       link
	first   map[int]time.Time // when a message went out; zero once it was repeated
	last    map[int]time.Time
	rtts    []time.Duration
	next    int
	pending []int // not echoed yet, in order
}

// converse sends numbered messages, echoes the peer's, and afterwards goes on for the
// time to linger, so that the peer gets its echoes too.
func (c *Config) converse(ctx, limit context.Context, l link) error {
	incoming := make(chan []byte)
	done := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			b, err := l.receive()
			if err != nil {
				done <- err
				return
			}
			select {
			case incoming <- b:
			case <-stop:
				done <- nil
				return
			}
		}
	}()
	finished := false
	defer func() {
		close(stop)
		l.close()
		if !finished {
			<-done
		}
	}()

	v := &conversation{c: c, l: l, first: make(map[int]time.Time), last: make(map[int]time.Time), next: 1}
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	var linger <-chan time.Time
	for {
		select {
		case b := <-incoming:
			if err := v.take(string(b)); err != nil {
				return v.lost(err, linger != nil)
			}
			if linger == nil && v.next > c.Echo && len(v.pending) == 0 {
				v.report()
				linger = time.After(c.Linger)
			}
		case now := <-tick.C:
			if err := v.say(now, linger != nil); err != nil {
				return v.lost(err, linger != nil)
			}
		case <-linger:
			return nil
		case err := <-done:
			finished = true
			return v.lost(err, linger != nil)
		case <-limit.Done():
			if linger != nil && ctx.Err() == nil {
				limit = ctx // the messages are through: only the caller ends the rest
				continue
			}
			if linger != nil {
				return nil
			}
			v.report()
			return fmt.Errorf("%w: %d of %d did; %w", errNotEchoed, v.next-1-len(v.pending), c.Echo, context.Cause(limit))
		}
	}
}

// lost ends a conversation whose path is gone: a failure, unless all has come back and
// the peer merely had enough before us.
func (v *conversation) lost(err error, lingering bool) error {
	if lingering {
		return nil
	}
	v.report()
	return fmt.Errorf("the path broke: %w", err)
}

// say sends the next message, or repeats the oldest one that is overdue.
func (v *conversation) say(now time.Time, lingering bool) error {
	n := v.next
	switch {
	case lingering || n <= v.c.Echo:
		v.next++
		if !lingering {
			v.pending = append(v.pending, n)
			v.first[n] = now
		}
	case len(v.pending) > 0:
		n = slices.MinFunc(v.pending, func(a, b int) int { return cmp.Or(v.last[a].Compare(v.last[b]), a-b) })
		if now.Sub(v.last[n]) < resendAfter {
			return nil
		}
		v.first[n] = time.Time{}
	default:
		return nil
	}
	v.last[n] = now
	return v.l.send(fmt.Appendf(nil, "bradawl message %d", n))
}

// take answers a message, or counts an echo.
func (v *conversation) take(s string) error {
	kind, number, _ := strings.Cut(strings.TrimPrefix(s, "bradawl "), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil // not ours: whoever can write to the socket can send anything
	}
	switch kind {
	case "message":
		return v.l.send(fmt.Appendf(nil, "bradawl echo %d", n))
	case "echo":
		i := slices.Index(v.pending, n)
		if i < 0 {
			return nil
		}
		v.pending = slices.Delete(v.pending, i, i+1)
		if at := v.first[n]; !at.IsZero() {
			v.rtts = append(v.rtts, time.Since(at))
			v.c.Note("message %d came back after %v", n, v.rtts[len(v.rtts)-1].Round(time.Microsecond))
		}
	}
	return nil
}

func (v *conversation) report() {
	var median int64
	if len(v.rtts) > 0 {
		median = slices.Sorted(slices.Values(v.rtts))[len(v.rtts)/2].Microseconds()
	}
	sent, echoed := v.next-1, v.next-1-len(v.pending)
	v.c.Report(Event{Event: "echo", RTTus: &median, Sent: &sent, Echoed: &echoed})
}
