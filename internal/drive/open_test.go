package drive_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
)

func TestEffectsGoToEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &pinger{}
		var got []machine.Op
		var l *drive.Loop
		l = run(t, m, nil, drive.Options{Effect: func(tr machine.Transmit) {
			got = append(got, tr.Op)
			l.Post(func(now time.Time) { m.HandleNotice(now, machine.Notice{Kind: machine.Connected}) })
		}})
		l.Do(func(time.Time) {
			m.out = append(m.out, machine.Transmit{Op: machine.Dial, Stream: 1}, machine.Transmit{Op: machine.OpenSocket, Socket: 3})
		})
		synctest.Wait()
		closeLoop(t, l)
		if fmt.Sprint(got) != "[dial open-socket]" || len(m.notices) != 2 {
			t.Errorf("effects %v, notices %v", got, m.notices)
		}
	})
}

// listener opens pipes in fake time.
type listener struct {
	takes  time.Duration
	err    error
	opened []*pipe
	asked  []string
}

func (li *listener) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	li.asked = append(li.asked, network+" "+address)
	select {
	case <-time.After(li.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if li.err != nil {
		return nil, li.err
	}
	p := newPipe(fmt.Sprintf("10.0.0.1:%d", 1000+len(li.opened)))
	li.opened = append(li.opened, p)
	return p, nil
}

func ask(t *testing.T, l *drive.Loop, m *pinger, ts ...machine.Transmit) {
	t.Helper()
	if err := l.Do(func(time.Time) { m.out = append(m.out, ts...) }); err != nil {
		t.Fatal(err)
	}
}

func TestOpenAndCloseSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, li := &pinger{}, &listener{takes: time.Second}
		l := run(t, m, nil, drive.Options{ListenPacket: li.ListenPacket})
		ask(t, l, m,
			machine.Transmit{Op: machine.OpenSocket, Socket: 7},
			machine.Transmit{Op: machine.OpenSocket, Socket: 8, Local: netip.MustParseAddrPort("10.0.0.1:99")},
			machine.Transmit{Op: machine.OpenSocket, Socket: 9, Local: netip.MustParseAddrPort("[2001:db8::1]:0")},
			machine.Transmit{Op: machine.CloseSocket, Socket: 8}, // before it is open
			machine.Transmit{Op: machine.CloseSocket, Socket: 77},
		)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := fmt.Sprint(li.asked); got != "[udp :0 udp4 10.0.0.1:99 udp6 [2001:db8::1]:0]" {
			t.Errorf("ListenPacket was asked for %v", got)
		}
		li.opened[0].in <- datagram{netip.MustParseAddrPort("10.0.0.2:2"), []byte("hello")}
		synctest.Wait()
		ask(t, l, m, machine.Transmit{Op: machine.CloseSocket, Socket: 7})
		synctest.Wait()
		if !li.opened[0].isClosed() || !li.opened[1].isClosed() || li.opened[2].isClosed() {
			t.Error("want sockets 7 and 8 closed, 9 open")
		}
		// The number is free again.
		ask(t, l, m, machine.Transmit{Op: machine.OpenSocket, Socket: 7}, machine.Transmit{Op: machine.OpenSocket, Socket: 9})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		closeLoop(t, l)

		want := []struct {
			kind machine.NoticeKind
			id   machine.SocketID
		}{{machine.SocketOpened, 7}, {machine.SocketOpened, 9}, {machine.SocketOpened, 7}, {machine.SocketFailed, 9}}
		if len(m.notices) != len(want) {
			t.Fatalf("notices %v", m.notices)
		}
		for i, w := range want {
			if n := m.notices[i]; n.Kind != w.kind || n.Socket != w.id {
				t.Errorf("notice %d: %+v, want %v of %d", i, n, w.kind, w.id)
			}
		}
		if m.notices[0].Local != li.opened[0].local {
			t.Errorf("opened on %v, want %v", m.notices[0].Local, li.opened[0].local)
		}
		if len(m.got) != 1 || m.got[0].Socket != 7 {
			t.Errorf("datagrams %v, want one on socket 7", m.got)
		}
		for i, p := range li.opened {
			if !p.isClosed() {
				t.Errorf("socket opened as number %d left open", i)
			}
		}
	})
}

func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, li := &pinger{}, &listener{err: errors.New("no permission")}
		l := run(t, m, nil, drive.Options{ListenPacket: li.ListenPacket})
		ask(t, l, m, machine.Transmit{Op: machine.OpenSocket, Socket: 7})
		synctest.Wait()
		closeLoop(t, l)
		if len(m.notices) != 1 || m.notices[0].Kind != machine.SocketFailed || !errors.Is(m.notices[0].Err, li.err) {
			t.Errorf("notices %v", m.notices)
		}
	})
}

// Close while a socket is being opened: ctx ends, and nothing stays open.
func TestCloseWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, li := &pinger{}, &listener{takes: time.Hour}
		l := run(t, m, nil, drive.Options{ListenPacket: li.ListenPacket})
		ask(t, l, m, machine.Transmit{Op: machine.OpenSocket, Socket: 7}, machine.Transmit{Op: machine.OpenSocket, Socket: 8})
		start := time.Now()
		closeLoop(t, l)
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v", d)
		}
	})
}
