package drive_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// twoHosts are a machine that takes streams at b's port 80, and a's way there.
func twoHosts(t *testing.T, fn func(t *testing.T, l *drive.Loop, k *talker, dial func() net.Conn), limit int) {
	synctest.Test(t, func(t *testing.T) {
		w := simnet.New(1)
		defer w.Go()()
		link := simnet.Link{Delay: 10 * time.Millisecond}
		a, b := w.AddHost("a", w.Internet(), link), w.AddHost("b", w.Internet(), link)
		li, err := b.Listen(t.Context(), "tcp4", ":80", false)
		if err != nil {
			t.Fatal(err)
		}
		k := &talker{}
		l := run(t, k, nil, drive.Options{Listeners: []net.Listener{li}, ReadLimit: limit})
		fn(t, l, k, func() net.Conn {
			conn, err := a.DialContext(t.Context(), "tcp4", netip.AddrPortFrom(b.Addr(), 80).String())
			if err != nil {
				t.Fatal(err)
			}
			settle()
			return conn
		})
		closeLoop(t, l)
	})
}

func settle() {
	pass(time.Second)
	synctest.Wait()
}

func TestDetachAfterTheLimit(t *testing.T) {
	twoHosts(t, func(t *testing.T, l *drive.Loop, k *talker, dial func() net.Conn) {
		theirs := dial()
		io.WriteString(theirs, "hello"+"what follows is not the machine's")
		theirs.Close()
		settle()
		command(t, l, k, write(in0, "and "), write(in0, "back"))
		ours, ok := l.Detach(in0)
		if !ok {
			t.Fatal("not detached")
		}
		if got := k.heard[in0].String(); got != "hello" || strings.Join(k.kinds(), " ") != "accepted received" {
			t.Errorf("the machine was told %q, in all %v", got, k.kinds())
		}
		if got, err := io.ReadAll(ours); string(got) != "what follows is not the machine's" || err != nil {
			t.Errorf("left to read: %q, %v", got, err)
		}
		if _, ok := l.Detach(in0); ok {
			t.Error("detached twice")
		}
		// It is nothing to the loop any more.
		command(t, l, k, write(in0, "lost"), reset(in0))
		closeLoop(t, l)
		if err := ours.Close(); err != nil {
			t.Error(err)
		}
		if _, ok := l.Detach(in0); ok {
			t.Error("detached after Close")
		}
	}, 5)
}

func TestDetachWhileReading(t *testing.T) {
	twoHosts(t, func(t *testing.T, l *drive.Loop, k *talker, dial func() net.Conn) {
		theirs := dial()
		io.WriteString(theirs, "for the machine")
		settle()
		big := strings.Repeat("x", 200<<10)
		ask(t, l, &k.pinger, write(in0, big))
		ours, ok := l.Detach(in0)
		if !ok {
			t.Fatal("not detached")
		}
		io.WriteString(theirs, "for us")
		theirs.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Now().Add(time.Minute))
		got := make([]byte, len(big))
		if _, err := io.ReadFull(theirs, got); err != nil || string(got) != big {
			t.Errorf("what was written before did not arrive: %v", err)
		}
		settle()
		closeLoop(t, l)
		if got := k.heard[in0].String(); got != "for the machine" {
			t.Errorf("the machine heard %q", got)
		}
		buf := make([]byte, 100)
		n, err := ours.Read(buf)
		if string(buf[:n]) != "for us" || err != nil {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		ours.Close()
		theirs.Close()
	}, 0)
}

// Whatever is read before a connection is handed over is the machine's, however the
// two meet.
func TestDetachAgainstReading(t *testing.T) {
	for i := range 50 {
		twoHosts(t, func(t *testing.T, l *drive.Loop, k *talker, dial func() net.Conn) {
			theirs := dial()
			const message = "one two three four five six"
			go func() {
				for _, word := range strings.SplitAfter(message, " ") {
					io.WriteString(theirs, word)
					pass(time.Millisecond)
				}
				theirs.Close()
			}()
			pass(time.Duration(18+i/5) * time.Millisecond)
			ours, ok := l.Detach(in0)
			var rest []byte
			if ok {
				rest, _ = io.ReadAll(ours)
				ours.Close()
			}
			closeLoop(t, l)
			heard := ""
			if b := k.heard[in0]; b != nil {
				heard = b.String()
			}
			if got := heard + string(rest); ok && got != message {
				t.Errorf("heard %q, left to read %q", heard, rest)
			}
			if ok == (k.last().Kind == machine.Closed) {
				t.Errorf("detached %v, last notice %v", ok, k.last().Kind)
			}
		}, 0)
	}
}

func TestDetachOfWhatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := &pipeDialer{}, &talker{}
		l := run(t, k, nil, drive.Options{Dial: d.dial})
		command(t, l, k, dial(1, "", "192.0.2.1:80"), dial(2, "", "192.0.2.1:80"), dial(3, "", "192.0.2.1:80"))
		command(t, l, k, write(1, "nobody reads this"), write(2, "nor this"))
		// The other side takes nothing for too long.
		begin := time.Now()
		if _, ok := l.Detach(1); ok || time.Since(begin) > 10*time.Second {
			t.Errorf("detached %v after %v", ok, time.Since(begin))
		}
		if n := k.last(); n.Kind != machine.Closed || n.Stream != 1 || n.Err == nil {
			t.Errorf("notice %+v", n)
		}
		// The loop is closed meanwhile.
		done := make(chan bool)
		go func() {
			_, ok := l.Detach(2)
			done <- ok
		}()
		synctest.Wait()
		closeLoop(t, l)
		if <-done {
			t.Error("detached from a loop that was closed")
		}
		for i, c := range d.conns {
			if !c.closed.Load() {
				t.Errorf("connection %d is open", i)
			}
		}
	})
}
