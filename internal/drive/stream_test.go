package drive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
)

// talker is a machine that notes what comes of its streams.
type talker struct {
	pinger
	heard map[machine.StreamID]*bytes.Buffer
}

func (k *talker) HandleNotice(now time.Time, n machine.Notice) {
	n.Data = bytes.Clone(n.Data)
	k.pinger.HandleNotice(now, n)
	if n.Kind == machine.Received {
		if k.heard == nil {
			k.heard = make(map[machine.StreamID]*bytes.Buffer)
		}
		if k.heard[n.Stream] == nil {
			k.heard[n.Stream] = new(bytes.Buffer)
		}
		k.heard[n.Stream].Write(n.Data)
	}
}

func (k *talker) kinds() (all []string) {
	for _, n := range k.notices {
		if last := len(all) - 1; last < 0 || all[last] != n.Kind.String() {
			all = append(all, n.Kind.String())
		}
	}
	return all
}

func (k *talker) last() machine.Notice {
	if len(k.notices) == 0 {
		return machine.Notice{}
	}
	return k.notices[len(k.notices)-1]
}

// pipeDialer dials one end of a net.Pipe, which has no room at all and no linger.
type pipeDialer struct {
	takes time.Duration

	mu    sync.Mutex
	ends  []net.Conn // the other ones
	conns []*watched
}

// watched knows whether it was closed.
type watched struct {
	net.Conn
	closed atomic.Bool
}

func (w *watched) Close() error {
	w.closed.Store(true)
	return w.Conn.Close()
}

func (d *pipeDialer) dial(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
	select {
	case <-time.After(d.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ours, theirs := net.Pipe()
	d.ends = append(d.ends, theirs)
	w := &watched{Conn: ours}
	d.conns = append(d.conns, w)
	return w, nil
}

func command(t *testing.T, l *drive.Loop, k *talker, ts ...machine.Transmit) {
	t.Helper()
	ask(t, l, &k.pinger, ts...)
	synctest.Wait()
}

// A connection that takes nothing holds neither the loop up nor unbounded memory.
func TestStreamThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := &pipeDialer{}, &talker{}
		l := run(t, k, nil, drive.Options{Dial: d.dial})
		command(t, l, k, dial(1, "", "192.0.2.1:80"))
		chunk := strings.Repeat("x", 64<<10)
		command(t, l, k, write(1, chunk), write(1, chunk))
		command(t, l, k, write(1, chunk), write(1, chunk))
		if n := k.last(); n.Kind != machine.Connected || n.Remote != netip.MustParseAddrPort("192.0.2.1:80") {
			t.Errorf("notice %+v, want connected to what was dialled", n)
		}
		command(t, l, k, write(1, "x"), write(1, "y"))
		n := k.last()
		var overflow *machine.OverflowError
		if n.Kind != machine.Closed || !errors.As(n.Err, &overflow) || overflow.Stream != 1 || overflow.Queued != 4*len(chunk)+1 {
			t.Errorf("notice %+v, want an overflow", n)
		}
		if !d.conns[0].closed.Load() || len(k.notices) != 2 {
			t.Errorf("closed: %v; notices %v", d.conns[0].closed.Load(), k.notices)
		}

		// One that waits to be closed in order has a few seconds.
		command(t, l, k, dial(2, "", "192.0.2.1:80"))
		command(t, l, k, write(2, "nobody reads this"), hangUp(2))
		if d.conns[1].closed.Load() {
			t.Error("closed before what was written was sent")
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if !d.conns[1].closed.Load() {
			t.Error("open after 6 s")
		}
		command(t, l, k, dial(3, "", "192.0.2.1:80"))
		command(t, l, k, write(3, "read in part"), hangUp(3))
		if got, err := io.ReadAll(d.ends[2]); string(got) != "read in part" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}

		// Close waits for none.
		command(t, l, k, dial(4, "", "192.0.2.1:80"), dial(5, "", "192.0.2.1:80"))
		command(t, l, k, write(4, "nobody reads this"), write(5, "nor this"), hangUp(5))
		begin := time.Now()
		closeLoop(t, l)
		if d := time.Since(begin); d != 0 {
			t.Errorf("Close took %v", d)
		}
		for i, c := range d.conns {
			if !c.closed.Load() {
				t.Errorf("connection %d is open", i)
			}
		}
	})
}

// A write that fails ends the stream, though nothing is read any more.
func TestStreamWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := &pipeDialer{}, &talker{}
		l := run(t, k, nil, drive.Options{Dial: d.dial, ReadLimit: 2})
		command(t, l, k, dial(1, "", "192.0.2.1:80"))
		go d.ends[0].Write([]byte("hi"))
		synctest.Wait()
		d.ends[0].Close()
		synctest.Wait()
		if got := strings.Join(k.kinds(), " "); got != "connected received" {
			t.Errorf("%s, want nothing read beyond the limit", got)
		}
		command(t, l, k, write(1, "are you there?"))
		if n := k.last(); n.Kind != machine.Closed || !errors.Is(n.Err, io.ErrClosedPipe) {
			t.Errorf("notice %+v", n)
		}
		closeLoop(t, l)
	})
}

func TestDialIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, k := &pipeDialer{takes: time.Hour}, &talker{}
		l := run(t, k, nil, drive.Options{Dial: d.dial})
		begin := time.Now()
		command(t, l, k, dial(1, "", "192.0.2.1:80"), dial(2, "", "[2001:db8::1]:80"))
		command(t, l, k, reset(1))
		if _, ok := l.Detach(2); ok {
			t.Error("detached what is not connected")
		}
		closeLoop(t, l)
		if d := time.Since(begin); d != 0 || len(k.notices) != 0 {
			t.Errorf("took %v, notices %v", d, k.notices)
		}

		// Without Dial there are no dials, but the machine is told.
		k = &talker{}
		l = run(t, k, nil, drive.Options{Listeners: []net.Listener{&failingListener{closed: make(chan struct{})}}})
		command(t, l, k, dial(1, "", "192.0.2.1:80"))
		if n := k.last(); n.Kind != machine.Closed || n.Err == nil || !strings.Contains(n.Err.Error(), "Options.Dial") {
			t.Errorf("notice %+v", n)
		}
		closeLoop(t, l)
	})
}

// failingListener has run out of descriptors.
type failingListener struct {
	calls  int
	closed chan struct{}
}

func (f *failingListener) Accept() (net.Conn, error) {
	select {
	case <-f.closed:
		return nil, net.ErrClosed
	default:
		f.calls++
		return nil, errors.New("too many open files")
	}
}
func (f *failingListener) Close() error   { close(f.closed); return nil }
func (f *failingListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestListenerThatFailsIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failingListener{closed: make(chan struct{})}
		l := run(t, &talker{}, nil, drive.Options{Listeners: []net.Listener{f}})
		time.Sleep(time.Second)
		synctest.Wait()
		closeLoop(t, l)
		if f.calls < 10 || f.calls > 30 {
			t.Errorf("%d calls of Accept in a second, want about 20", f.calls)
		}
	})
	if _, err := drive.Run(&talker{}, nil, drive.Options{Listeners: []net.Listener{nil}}); err == nil {
		t.Error("a nil listener was accepted")
	}
}

// crowd is a listener that everybody comes to.
type crowd struct {
	came   chan net.Conn
	closed chan struct{}
}

func (c *crowd) Accept() (net.Conn, error) {
	select {
	case conn := <-c.came:
		return conn, nil
	case <-c.closed:
		return nil, net.ErrClosed
	}
}
func (c *crowd) Close() error   { close(c.closed); return nil }
func (c *crowd) Addr() net.Addr { return &net.TCPAddr{} }

func TestTooManyStreamsComeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{make(chan net.Conn), make(chan struct{})}
		k := &talker{}
		l := run(t, k, nil, drive.Options{Listeners: []net.Listener{c}})
		var all []*watched
		come := func(n int) {
			for range n {
				ours, _ := net.Pipe()
				w := &watched{Conn: ours}
				all = append(all, w)
				c.came <- w
			}
			synctest.Wait()
		}
		come(1100)
		if len(k.notices) != 1024 || all[1023].closed.Load() || !all[1024].closed.Load() {
			t.Errorf("%d accepted", len(k.notices))
		}
		command(t, l, k, reset(in0), reset(in1))
		come(3)
		if len(k.notices) != 1026 || k.last().Stream != machine.AcceptedBase+1025 {
			t.Errorf("%d accepted in all, the last as %d", len(k.notices), k.last().Stream)
		}
		closeLoop(t, l)
	})
}

// Of several dials to one address each knows which stream it is for.
func TestStreamOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := make(map[machine.StreamID]int)
		d, k := &pipeDialer{}, &talker{}
		l := run(t, k, nil, drive.Options{Dial: func(ctx context.Context, network string, local netip.AddrPort, remote string) (net.Conn, error) {
			mu.Lock()
			asked[drive.StreamOf(ctx)]++
			mu.Unlock()
			return d.dial(ctx, network, local, remote)
		}})
		command(t, l, k, dial(3, "", "192.0.2.1:80"), dial(7, "", "192.0.2.1:80"), dial(0, "", "192.0.2.1:80"))
		if len(asked) != 3 || asked[3] != 1 || asked[7] != 1 || asked[0] != 1 {
			t.Errorf("dials by stream: %v", asked)
		}
		closeLoop(t, l)
	})
}
