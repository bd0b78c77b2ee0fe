package drive_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
)

// full is a socket without room: a write waits for its deadline.
type full struct {
	*pipe
	future bool // a deadline to come counts; a past one always does
	none   bool // there are no deadlines

	mu       sync.Mutex
	deadline chan struct{}
}

func newFull() *full {
	return &full{pipe: newPipe("10.0.0.1:1"), deadline: make(chan struct{})}
}

func (f *full) SetWriteDeadline(t time.Time) error {
	if f.none {
		return errors.New("no deadlines here")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = make(chan struct{})
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(f.deadline)
	case f.future:
		d := f.deadline
		time.AfterFunc(wait, func() { close(d) })
	}
	return nil
}

func (f *full) writeDeadlinePassed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.deadline:
		return true
	default:
		return false
	}
}

func (f *full) WriteTo([]byte, net.Addr) (int, error) {
	for {
		f.mu.Lock()
		d := f.deadline
		f.mu.Unlock()
		select {
		case <-d:
			return 0, os.ErrDeadlineExceeded
		case <-f.closed:
			return 0, net.ErrClosed
		case <-time.After(time.Millisecond): // a new one may have been set
		}
	}
}

func TestFullSocketDoesNotStopTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFull()
		f.future = true
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{f}})
		begin := time.Now()
		l.Do(func(time.Time) { m.send(0, somebody, 'q', 1) })
		l.Do(func(time.Time) { m.send(0, somebody, 'q', 2) })
		if d := time.Since(begin); d > 50*time.Millisecond {
			t.Errorf("two datagrams that nobody takes held the loop up for %v", d)
		}
		closeLoop(t, l)
	})
}

func TestCloseEndsAWriteThatWaits(t *testing.T) {
	for _, c := range []struct {
		name       string
		none, keep bool
	}{{name: "by its deadline"}, {name: "by its deadline, and keeps the socket", keep: true}, {name: "by closing the socket", none: true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFull()
				f.none = c.none
				m := &pinger{}
				l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{f}, KeepSockets: c.keep})
				l.Post(func(time.Time) {
					for i := range uint32(8) {
						m.send(0, somebody, 'q', i)
					}
				})
				synctest.Wait()
				begin := time.Now()
				closeLoop(t, l)
				if d := time.Since(begin); d > 50*time.Millisecond {
					t.Errorf("Close took %v", d)
				}
				if f.isClosed() == c.keep || len(m.notices) != 0 {
					t.Errorf("closed: %v, notices %v", f.isClosed(), m.notices)
				}
				f.Close()
			})
		})
	}
}

// A socket is handed back without deadlines, whichever of Close and the loop is
// quicker.
func TestKeptSocketHasNoDeadlines(t *testing.T) {
	for range 500 {
		f := newFull()
		l := run(t, &pinger{}, nil, drive.Options{Sockets: []net.PacketConn{f}, KeepSockets: true})
		closeLoop(t, l)
		if f.hasDeadline() || f.writeDeadlinePassed() {
			t.Fatal("a deadline is left over")
		}
	}
}

// What was read from a socket that is handed back is not lost, and nothing else was
// read from it.
func TestKeptSocketLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		var events int
		l := run(t, m, func(string) { events++ }, drive.Options{Sockets: []net.PacketConn{a}, KeepSockets: true})
		release := make(chan struct{})
		l.Post(func(time.Time) { <-release })
		synctest.Wait()
		const sent = 100 // more than wait for the loop
		for i := range byte(sent) {
			b.WriteTo([]byte{'r', 0, 0, 0, i}, a.LocalAddr())
		}
		synctest.Wait()
		left := len(a.in)
		closed := make(chan struct{})
		go func() {
			closeLoop(t, l)
			close(closed)
		}()
		synctest.Wait()
		close(release)
		<-closed
		if left == 0 || left >= sent-1 {
			t.Fatalf("%d of %d were not read; the test shows nothing", left, sent)
		}
		if len(m.got)+len(a.in) != sent || len(m.got) < sent-left || events != len(m.got) {
			t.Errorf("the machine got %d of %d with %d events, the socket has %d", len(m.got), sent, events, len(a.in))
		}
		for i, d := range m.got {
			if d.Data[4] != byte(i) {
				t.Fatalf("number %d in the place of %d", d.Data[4], i)
			}
		}
		a.Close()
	})
}

// After Close nothing is sent any more, not even an answer to what came before.
func TestNothingIsSentAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}, KeepSockets: true})
		release := make(chan struct{})
		l.Post(func(time.Time) { <-release })
		synctest.Wait()
		b.WriteTo([]byte{'q', 0, 0, 0, 1}, a.LocalAddr())
		synctest.Wait()
		closed := make(chan struct{})
		go func() {
			closeLoop(t, l)
			close(closed)
		}()
		synctest.Wait()
		close(release)
		<-closed
		if len(m.got) != 1 || len(b.in) != 0 {
			t.Errorf("%d datagrams came in, %d went out, want 1 and 0", len(m.got), len(b.in))
		}
		a.Close()
	})
}

// closer closes its socket with the first datagram.
type closer struct{ pinger }

func (c *closer) HandleDatagram(now time.Time, d machine.Datagram) {
	c.pinger.HandleDatagram(now, d)
	c.out = append(c.out, machine.Transmit{Op: machine.CloseSocket, Socket: d.Socket})
}

// What a reader had in hand when the machine closed its socket is dropped.
func TestClosedSocketIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &closer{}
		li := &listener{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}, ListenPacket: li.ListenPacket})
		release := make(chan struct{})
		l.Post(func(time.Time) { <-release })
		synctest.Wait()
		for range 5 {
			b.WriteTo([]byte("hello"), a.LocalAddr())
		}
		synctest.Wait()
		if len(a.in) != 0 {
			t.Fatal("not read yet; the test shows nothing")
		}
		close(release)
		synctest.Wait()
		if !a.isClosed() {
			t.Error("the socket is open")
		}
		closeLoop(t, l)
		if len(m.got) != 1 || len(m.notices) != 0 {
			t.Errorf("%d datagrams and notices %v, want 1 and none", len(m.got), m.notices)
		}
	})
}
