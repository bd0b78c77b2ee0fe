package drive_test

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

// run starts m over sockets; synctest proves at the end of the bubble that
// Close left no goroutine.
func run(t *testing.T, m machine.Machine[string], onEvent func(string), o drive.Options) *drive.Loop {
	t.Helper()
	l, err := drive.Run(m, onEvent, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLoop(t *testing.T, l *drive.Loop) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestTwoMachinesTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		asker := &pinger{remote: b.local, interval: 20 * time.Millisecond, next: time.Now()}
		answerer := &pinger{}
		pongs := make(chan time.Time, 100)
		la := run(t, asker, func(string) { pongs <- time.Now() }, drive.Options{Sockets: []net.PacketConn{a}})
		lb := run(t, answerer, nil, drive.Options{Sockets: []net.PacketConn{b}})

		start := time.Now()
		for i := range 50 {
			if got, want := (<-pongs).Sub(start), time.Duration(i)*20*time.Millisecond; got != want {
				t.Fatalf("pong %d after %v, want %v", i, got, want)
			}
		}
		closeLoop(t, la)
		closeLoop(t, lb)
		if len(answerer.got) < 50 {
			t.Fatalf("%d datagrams arrived, want at least 50", len(answerer.got))
		}
		if d := answerer.got[0]; d.Remote != a.local || d.Local != b.local || d.Socket != 0 {
			t.Errorf("first datagram: %+v", d)
		}
		if !a.isClosed() || !b.isClosed() {
			t.Error("sockets left open")
		}
	})
}

func TestDoDrainsBeforeItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		var events []string
		l := run(t, m, func(e string) { events = append(events, e) }, drive.Options{Sockets: []net.PacketConn{a}})
		defer closeLoop(t, l)
		err := l.Do(func(now time.Time) {
			m.events = append(m.events, "asked")
			m.send(0, b.local, 'q', 7)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 1 || events[0] != "asked" {
			t.Errorf("events after Do: %q", events)
		}
		if len(b.in) != 1 {
			t.Errorf("%d datagrams sent after Do, want 1", len(b.in))
		}
	})
}

func TestPostRunsInOrderAndFromTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pinger{}
		var got []int
		l := run(t, m, nil, drive.Options{})
		release := make(chan struct{})
		l.Post(func(time.Time) { <-release })
		synctest.Wait()
		for i := range 10 {
			l.Post(func(time.Time) {
				got = append(got, i)
				l.Post(func(time.Time) { got = append(got, 100+i) })
			})
		}
		close(release)
		synctest.Wait()
		closeLoop(t, l)
		if len(got) != 20 || got[0] != 0 || got[9] != 9 || got[19] != 109 {
			t.Errorf("ran %v", got)
		}
		if l.Post(func(time.Time) { t.Error("ran after Close") }) {
			t.Error("Post reports true after Close")
		}
		if err := l.Do(func(time.Time) { t.Error("ran after Close") }); !errors.Is(err, drive.ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
	})
}

// Whatever Do answers must be true: nil if and only if fn ran.
func TestDoAgainstClose(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			a, _ := newPipes("10.0.0.1:1", "10.0.0.2:2")
			l := run(t, &pinger{}, nil, drive.Options{Sockets: []net.PacketConn{a}})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					ran := false
					err := l.Do(func(time.Time) { ran = true })
					if ran != (err == nil) || err != nil && !errors.Is(err, drive.ErrClosed) {
						t.Errorf("Do: ran %v, error %v", ran, err)
					}
				})
				wg.Go(func() { closeLoop(t, l) })
			}
			wg.Wait()
			<-l.Done()
		})
	}
}

func TestKeepSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		a.SetReadDeadline(time.Unix(1, 0)) // left over from before
		for round := range 3 {
			m := &pinger{}
			l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}, KeepSockets: true})
			b.WriteTo([]byte("hello"), a.LocalAddr())
			synctest.Wait()
			closeLoop(t, l)
			if len(m.got) != 1 {
				t.Fatalf("round %d: %d datagrams, want 1", round, len(m.got))
			}
			if a.isClosed() || a.hasDeadline() {
				t.Fatalf("round %d: closed %v, deadline passed %v", round, a.isClosed(), a.hasDeadline())
			}
		}
		a.Close()
	})
}

func TestForeignDeadlineDoesNotEndTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}})
		synctest.Wait()
		a.SetReadDeadline(time.Unix(1, 0))
		synctest.Wait()
		b.WriteTo([]byte("hello"), a.LocalAddr())
		synctest.Wait()
		closeLoop(t, l)
		if len(m.got) != 1 || len(m.notices) != 0 {
			t.Errorf("%d datagrams and notices %v, want 1 and none", len(m.got), m.notices)
		}
	})
}

func TestReadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}})
		defer closeLoop(t, l)
		gone := netip.MustParseAddrPort("192.0.2.9:9")
		a.fail <- &netio.UnreachableError{Remote: gone, Reason: machine.PortUnreachable}
		b.WriteTo([]byte("hello"), a.LocalAddr()) // the reader goes on
		synctest.Wait()
		broken := errors.New("cable eaten")
		a.fail <- broken
		synctest.Wait()
		select {
		case a.fail <- broken:
			t.Error("the reader goes on after a fatal error")
		default:
		}
		l.Do(func(time.Time) {
			if len(m.got) != 1 || len(m.notices) != 2 {
				t.Fatalf("%d datagrams and notices %v, want 1 and 2", len(m.got), m.notices)
			}
			if n := m.notices[0]; n.Kind != machine.Unreachable || n.Remote != gone || n.Socket != 0 {
				t.Errorf("first notice: %+v", n)
			}
			if n := m.notices[1]; n.Kind != machine.SocketFailed || !errors.Is(n.Err, broken) || n.Local != a.local {
				t.Errorf("second notice: %+v", n)
			}
		})
	})
}

// A socket whose every read fails at once, "transiently", must not keep the
// fake clock (nor a CPU) from moving on.
func TestFailingSocketIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newPipes("10.0.0.1:1", "10.0.0.2:2")
		failing := &failingConn{pipe: a}
		l := run(t, &pinger{}, nil, drive.Options{Sockets: []net.PacketConn{failing}})
		time.Sleep(time.Second) // fake time
		closeLoop(t, l)
		if failing.reads < 100 || failing.reads > 200 {
			t.Errorf("%d reads in a second, want about 116", failing.reads)
		}
	})
}

type failingConn struct {
	*pipe
	reads int
}

func (c *failingConn) ReadFrom([]byte) (int, net.Addr, error) {
	c.reads++
	if c.isClosed() {
		return 0, nil, net.ErrClosed
	}
	return 0, nil, &netio.UnreachableError{}
}

func TestDeadlineThatDoesNotMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &stuck{at: time.Now()}
		l := run(t, m, nil, drive.Options{})
		time.Sleep(time.Second) // fake time
		closeLoop(t, l)
		if m.calls < 1000 || m.calls > 20000 {
			t.Errorf("%d calls of HandleTimeout in a second, want about 16,000", m.calls)
		}
	})
}

// stuck never moves its deadline.
type stuck struct {
	pinger
	at    time.Time
	calls int
}

func (s *stuck) NextTimeout() time.Time  { return s.at }
func (s *stuck) HandleTimeout(time.Time) { s.calls++ }

func TestUnusableDatagramsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "10.0.0.2:2")
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}})
		b.WriteTo(make([]byte, 9000), a.LocalAddr()) // longer than the buffer
		a.in <- datagram{netip.AddrPort{}, []byte("who")}
		b.WriteTo([]byte("hello"), a.LocalAddr())
		b.WriteTo(nil, a.LocalAddr()) // an empty datagram is one
		synctest.Wait()
		closeLoop(t, l)
		if len(m.got) != 2 || string(m.got[0].Data) != "hello" || len(m.got[1].Data) != 0 {
			t.Errorf("got %v", m.got)
		}
	})
}

func TestUnusableOptions(t *testing.T) {
	a, _ := newPipes("10.0.0.1:1", "10.0.0.2:2")
	if _, err := drive.Run(&pinger{}, nil, drive.Options{Sockets: []net.PacketConn{a, nil}}); err == nil {
		t.Error("a nil socket was accepted")
	}
	if a.isClosed() {
		t.Error("Run failed and closed the caller's socket")
	}
}

func TestIPv4MappedIsUnmapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("10.0.0.1:1", "[::ffff:10.0.0.2]:2")
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{a}})
		b.peer = a
		a.in <- datagram{b.local, []byte("hello")}
		synctest.Wait()
		closeLoop(t, l)
		if want := netip.MustParseAddrPort("10.0.0.2:2"); len(m.got) != 1 || m.got[0].Remote != want {
			t.Errorf("got %v, want one from %v", m.got, want)
		}
	})
}
