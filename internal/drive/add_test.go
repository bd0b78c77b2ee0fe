package drive_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
)

// A socket that somebody else has opened is one of the machine's like any other.
func TestAddSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pinger{}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{newPipe("10.0.0.1:1")}})
		ours, theirs := newPipes("10.0.0.1:2", "10.0.0.2:2")
		if err := l.AddSocket(7, ours); err != nil {
			t.Fatal(err)
		}
		theirs.WriteTo([]byte{'q', 0, 0, 0, 5}, net.UDPAddrFromAddrPort(ours.local))
		synctest.Wait()
		if len(m.got) != 1 || m.got[0].Socket != 7 || m.got[0].Remote != theirs.local {
			t.Errorf("the machine got %+v", m.got)
		}
		select {
		case d := <-theirs.in:
			if string(d.data) != "r\x00\x00\x00\x05" || d.from != ours.local {
				t.Errorf("answered %q from %v", d.data, d.from)
			}
		default:
			t.Error("no answer")
		}
		ours.fail <- errors.New("pulled out")
		synctest.Wait()
		if len(m.notices) != 1 || m.notices[0].Kind != machine.SocketFailed || m.notices[0].Socket != 7 {
			t.Errorf("notices %+v, want that socket 7 has failed", m.notices)
		}
		closeLoop(t, l)
		if !ours.isClosed() {
			t.Error("left open by Close")
		}
	})
}

// What cannot be added stays its owner's.
func TestAddSocketFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, li := &pinger{}, &listener{takes: time.Hour}
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{newPipe("10.0.0.1:1")}, ListenPacket: li.ListenPacket})
		ask(t, l, m, machine.Transmit{Op: machine.OpenSocket, Socket: 8}, machine.Transmit{Op: machine.OpenSocket, Socket: 9})
		for _, c := range []struct {
			what string
			id   machine.SocketID
			pc   net.PacketConn
		}{
			{"a number in use", 0, newPipe("10.0.0.1:2")},
			{"the number of a socket that is being opened", 8, newPipe("10.0.0.1:2")},
			{"the number of one that waits for it", 9, newPipe("10.0.0.1:2")},
			{"nil", 5, nil},
			{"a socket without an address", 5, noAddr{newPipe("10.0.0.1:2")}},
		} {
			if err := l.AddSocket(c.id, c.pc); err == nil || errors.Is(err, drive.ErrClosed) {
				t.Errorf("%s: %v", c.what, err)
			}
			if p, ok := c.pc.(*pipe); ok && p.isClosed() {
				t.Errorf("%s: closed", c.what)
			}
		}
		ask(t, l, m, machine.Transmit{Op: machine.CloseSocket, Socket: 8})
		if err := l.AddSocket(8, newPipe("10.0.0.1:3")); err != nil {
			t.Errorf("the number of one that will not be opened: %v", err)
		}
		closeLoop(t, l)
		late := newPipe("10.0.0.1:2")
		if err := l.AddSocket(5, late); !errors.Is(err, drive.ErrClosed) || late.isClosed() {
			t.Errorf("after Close: %v, closed %v", err, late.isClosed())
		}
	})
}

// Listeners come and go; what came by one that goes stays.
func TestAddAndRemoveListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &crowd{make(chan net.Conn), make(chan struct{})}, &crowd{make(chan net.Conn), make(chan struct{})}
		k := &talker{}
		l := run(t, k, nil, drive.Options{Listeners: []net.Listener{first}})
		if err := l.AddListener(second); err != nil {
			t.Fatal(err)
		}
		var all []*watched
		for _, c := range []*crowd{first, second} {
			ours, _ := net.Pipe()
			all = append(all, &watched{Conn: ours})
			c.came <- all[len(all)-1]
		}
		synctest.Wait()
		if len(k.notices) != 2 {
			t.Fatalf("%d accepted", len(k.notices))
		}
		if err := l.RemoveListener(first); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-first.closed:
		default:
			t.Error("the listener that was removed is open")
		}
		if all[0].closed.Load() || len(k.notices) != 2 {
			t.Error("what came by it has ended")
		}
		for _, none := range []net.Listener{first, nil} {
			if l.RemoveListener(none) == nil {
				t.Errorf("removed %v", none)
			}
		}
		if l.AddListener(nil) == nil {
			t.Error("a nil listener was added")
		}
		closeLoop(t, l)
		select {
		case <-second.closed:
		default:
			t.Error("left open by Close")
		}
		if err := l.AddListener(first); !errors.Is(err, drive.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		without := run(t, &pinger{}, nil, drive.Options{Sockets: []net.PacketConn{newPipe("10.0.0.1:1")}})
		if without.AddListener(first) == nil {
			t.Error("a listener was added to a loop without streams")
		}
		closeLoop(t, without)
	})
}

// noAddr is a socket of a network that has no IP addresses.
type noAddr struct{ *pipe }

func (noAddr) LocalAddr() net.Addr { return &net.UnixAddr{Name: "x", Net: "unixgram"} }

func TestRemoveSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, li := &pinger{}, &listener{takes: time.Second}
		first := newPipe("10.0.0.1:1")
		l := run(t, m, nil, drive.Options{Sockets: []net.PacketConn{first}, ListenPacket: li.ListenPacket})
		added := newPipe("10.0.0.1:2")
		if err := l.AddSocket(7, added); err != nil {
			t.Fatal(err)
		}
		for id, pc := range map[machine.SocketID]*pipe{0: first, 7: added} {
			if err := l.RemoveSocket(id); err != nil {
				t.Errorf("socket %d: %v", id, err)
			}
			synctest.Wait()
			if !pc.isClosed() {
				t.Errorf("socket %d is open", id)
			}
			if err := l.RemoveSocket(id); err == nil {
				t.Errorf("socket %d removed twice", id)
			}
		}
		ask(t, l, m, machine.Transmit{Socket: 7, Remote: first.local, Data: []byte("nowhere")}) // which is no socket any more

		// One that is being opened is closed as soon as it is open.
		ask(t, l, m, machine.Transmit{Op: machine.OpenSocket, Socket: 8})
		if err := l.RemoveSocket(8); err != nil {
			t.Errorf("one that is being opened: %v", err)
		}
		pass(time.Minute)
		synctest.Wait()
		if len(li.opened) != 1 || !li.opened[0].isClosed() {
			t.Error("one that was being opened is open")
		}
		if len(m.notices) != 0 || len(m.got) != 0 {
			t.Errorf("the machine was told %+v, %+v", m.notices, m.got)
		}

		// The number is free.
		again := newPipe("10.0.0.1:3")
		if err := l.AddSocket(7, again); err != nil {
			t.Fatal(err)
		}
		again.in <- datagram{netip.MustParseAddrPort("10.0.0.2:2"), []byte("hello")}
		synctest.Wait()
		if len(m.got) != 1 || m.got[0].Socket != 7 {
			t.Errorf("the machine got %+v", m.got)
		}
		closeLoop(t, l)
		if err := l.RemoveSocket(7); !errors.Is(err, drive.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// What was read of a socket and has not entered the machine when it is removed never does.
func TestRemoveSocketWithDatagramsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pinger{}
		l := run(t, m, nil, drive.Options{})
		for range 20 { // which of the two the loop takes up first is chance
			pc := newPipe("10.0.0.1:1")
			if err := l.AddSocket(3, pc); err != nil {
				t.Fatal(err)
			}
			hold := make(chan struct{})
			l.Post(func(time.Time) { <-hold })
			for range 50 {
				pc.in <- datagram{netip.MustParseAddrPort("10.0.0.2:2"), []byte("hello")}
			}
			removed := make(chan error)
			go func() { removed <- l.RemoveSocket(3) }()
			synctest.Wait() // all of them are read and wait for the loop
			then := 0
			l.Post(func(time.Time) { then = len(m.got) }) // right after the removal
			close(hold)
			if err := <-removed; err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if len(m.got) != then {
				t.Errorf("%d datagrams when the socket was removed, %d in the end", then, len(m.got))
			}
		}
		closeLoop(t, l)
	})
}
