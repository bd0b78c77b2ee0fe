package natsbus

import (
	"regexp"
	"runtime"
	"sync"
	"testing"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// A NATS that takes nothing holds up nobody who calls the bus: neither while there
// is room for what waits, nor when there is none.
func TestNeverBlocks(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	cable := newLine(t, hostOf(t, s.ClientURL()))
	b, err := New(within(t), Config{Conn: dialNATS(t, cable.url()), Patience: quick, QueueBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 1)
	b.Wake(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() { _ = b.Close() })
	end := cable.stall()
	t.Cleanup(end) // before Close
	from := rendezvous.BusMember{Peer: peerID(t, 1), Session: 1}
	data := make([]byte, rendezvous.MaxMessage)
	const many = 1000 // 48 MB: more than may wait, and than sockets hold
	refused, down := 0, false
	for i := range many {
		b.Publish(rendezvous.Topic{Peer: peerID(t, byte(2+i%50))}, rendezvous.BusMessage{Kind: rendezvous.BusSend, From: from, Data: data})
		b.Subscribe(peerID(t, 1))
		b.Unsubscribe(peerID(t, 1))
		for _, m, ok := b.Poll(); ok; _, m, ok = b.Poll() {
			if m.Kind == rendezvous.BusError && m.Code == rendezvous.CodeServerFull {
				refused++
			}
			down = down || m.Kind == rendezvous.BusDown // the machine is a slow one
		}
	}
	if !down && (refused == 0 || refused > many/2) {
		t.Errorf("%d of %d messages were refused", refused, many)
	}
	ctx := within(t)
	for !down { // in the end it is cut off
		for _, m, ok := b.Poll(); ok; _, m, ok = b.Poll() {
			down = down || m.Kind == rendezvous.BusDown
		}
		if !down {
			select {
			case <-woken:
			case <-ctx.Done():
				t.Fatal("it is never cut off")
			}
		}
	}
}

// Close leaves no goroutine behind, and its node is nobody any more.
func TestCloseEndsAll(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	nc := dialNATS(t, s.ClientURL())
	for range 3 {
		n := runNode(t, nc, Config{})
		c := n.dial(identity(t, 1))
		c.join("r", "c")
		_ = c.Close()
		n.close()
		if st := n.bus.Stats(); st.Up || st.Rooms != 0 || st.Peers != 0 || st.Waiting != 0 {
			t.Errorf("it has %+v left", st)
		}
	}
	nc.Close()
	ours := regexp.MustCompile(`natsbus\.\(\*(Bus|loop|writer|membership)\)`)
	await(t, func() bool {
		buf := make([]byte, 1<<20)
		return !ours.Match(buf[:runtime.Stack(buf, true)])
	})
}

// A bus that joins while others sign on hears of that at once, on another goroutine.
func TestNewWhileOthersSignOn(t *testing.T) {
	s := runNATS(t, natsOptions(t))
	runNode(t, dialNATS(t, s.ClientURL()), Config{}) // makes the streams
	nc, stop := dialNATS(t, s.ClientURL()), make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for subject := (subjects{prefix: "bradawl.rendezvous"}).signOnSubject(); ; {
			select {
			case <-stop:
				return
			default:
				if nc.Publish(subject, nil) != nil || nc.Flush() != nil {
					return
				}
			}
		}
	})
	defer others.Wait()
	defer close(stop)
	for range 50 {
		b, err := New(within(t), Config{Conn: dialNATS(t, s.ClientURL())})
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
	}
}
