package punch

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// FuzzPinger feeds a machine any datagrams, from registered remotes and others, the
// answers that it waits for among them, while time passes and remotes come and go. It
// never panics; it sends to the registered only, a probe's length each, at most one
// for a datagram; its counts agree; its memory is bounded.
//
// The input is a sequence of steps: a byte that says what, one more for how much, and
// for a datagram as many bytes as that says.
func FuzzPinger(f *testing.F) {
	probe, answer := ping{pingProbe, 1, 2}.encode(), ping{pingAnswer, 1, 2}.encode()
	f.Add(append([]byte{0, 8}, probe[:]...))
	f.Add(append([]byte{1, 8}, answer[:]...))
	f.Add([]byte{4, 3, 3, 20, 2, 0, 3, 10, 2, 1, 2, 0, 3, 255, 2, 0})
	f.Add([]byte{5, 0, 3, 1, 2, 0, 6, 0, 3, 255, 3, 255, 7, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		now := time.Unix(1e9, 0)
		m, err := newPingerMachine(now, PingerConfig{Interval: 10 * ms, LostAfter: 500 * ms}, rand.NewChaCha8([32]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Add(now, alice); err != nil {
			t.Fatal(err)
		}
		var open []machine.Transmit // probes sent lately
		drain := func() (sent int) {
			machine.Drain(m, func(out machine.Transmit) {
				sent++
				p, ok := decodePing(out.Data)
				if !ok || m.byAddr[out.Remote] == nil || !out.DontFragment {
					t.Fatalf("sent % x to %v", out.Data, out.Remote)
				}
				if p.kind == pingProbe && len(open) < 100 {
					out.Data = append([]byte(nil), out.Data...)
					open = append(open, out)
				}
			}, func(e pingerEvent) {
				if e.RTT < 0 || e.Kind > pingDone || e.Kind == pingDone && e.Stats.Pending() != 0 {
					t.Fatalf("event %+v", e)
				}
			})
			return sent
		}
		from := []netip.AddrPort{alice, bob, mallory, {}}
		for len(input) > 1 {
			what, n := input[0], int(input[1])
			input = input[2:]
			switch what % 8 {
			case 0, 1: // a datagram
				d := machine.Datagram{Remote: from[what/8%4], Data: input[:min(n, len(input))]}
				if what%8 == 1 {
					d.Stamp = now.Add(time.Duration(int8(what)) * ms)
				}
				input = input[len(d.Data):]
				drain()
				m.HandleDatagram(now, d)
				if sent := drain(); sent > 1 {
					t.Fatalf("%d datagrams sent for one", sent)
				}
			case 2: // the answer to a probe, perhaps again
				if len(open) == 0 {
					continue
				}
				out := open[n%len(open)]
				out.Data[1] = pingAnswer
				drain()
				m.HandleDatagram(now, machine.Datagram{Remote: out.Remote, Data: out.Data, Stamp: now.Add(-time.Duration(n) * ms)})
				if drain() != 0 {
					t.Fatal("an answer was answered")
				}
				if what/8%2 == 0 {
					open = append(open[:n%len(open)], open[n%len(open)+1:]...)
				}
			case 3:
				now = now.Add(time.Duration(n) * ms)
				m.HandleTimeout(now)
			case 4:
				if _, err := m.Ping(now, from[what/8%3], n%8+1); err != nil {
					t.Fatal(err)
				}
			case 5:
				if err := m.Add(now, bob); err != nil {
					t.Fatal(err)
				}
			case 6:
				m.Remove(bob)
			case 7:
				m.Cancel(pingID(n))
				m.HandleNotice(now, machine.Notice{Kind: machine.Unreachable, Remote: bob})
			}
			drain()
			if len(m.remotes) != len(m.byAddr) || len(m.remotes) > 3 || len(m.out) > 0 {
				t.Fatalf("%d remotes, %d by address, %d to send", len(m.remotes), len(m.byAddr), len(m.out))
			}
			for _, r := range m.remotes {
				for s := range r.all() {
					st := m.stats(now, r, s)
					if st.Late > st.Received || st.Reordered > st.Received || st.Overdue > st.Pending() || st.Pending() > len(r.flights) ||
						st.Min > st.Median || st.Median > st.Max || st.Mean < st.Min || st.Mean > st.Max || st.Deadline <= 0 {
						t.Fatalf("%+v with %d probes open", st, len(r.flights))
					}
				}
			}
		}
	})
}
