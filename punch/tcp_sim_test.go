package punch_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch"
)

// talkative is a TCPMachine whose owner says one word on the connection that both
// keep, and hears what the other owner says: the proof that it is the same one.
type talkative struct {
	*punch.TCPMachine
	word  string
	heard string
	kept  machine.StreamID
	end   *punch.TCPEvent
	extra []machine.Transmit
}

func (m *talkative) HandleNotice(now time.Time, n machine.Notice) {
	if m.end != nil && m.end.Kind == punch.TCPAgreed && n.Stream == m.kept {
		m.heard += string(n.Data)
		return
	}
	m.TCPMachine.HandleNotice(now, n)
}

func (m *talkative) PollTransmit() (machine.Transmit, bool) {
	if t, ok := m.TCPMachine.PollTransmit(); ok {
		return t, true
	}
	if len(m.extra) == 0 {
		return machine.Transmit{}, false
	}
	t := m.extra[0]
	m.extra = m.extra[1:]
	return t, true
}

// say is called with the machine's last event.
func (m *talkative) say(e punch.TCPEvent) {
	m.end = &e
	if e.Kind == punch.TCPAgreed {
		m.kept = e.Stream
		m.heard = string(e.Early)
		m.extra = append(m.extra, machine.Transmit{Op: machine.Write, Stream: e.Stream, Data: []byte(m.word)})
	}
}

// newTCPWorld is newWorld with TCP punching, from the port that reaches the rendezvous.
func newTCPWorld(t *testing.T, seed uint64, natA, natB string, loss float64) *world {
	w := newWorld(t, seed, natA, natB, loss)
	for _, p := range w.peers {
		p.startTCP = func(now time.Time, peer []netip.AddrPort, secret []byte) {
			at := p.tcpAddr()
			m, err := punch.NewTCPMachine(now, punch.TCPConfig{Local: at, Peer: peer, Secret: secret},
				rand.New(rand.NewPCG(p.Seed(), 2)), p.Secrets(p.site.Name()+" tcp"))
			p.check(err)
			p.talked = &talkative{TCPMachine: m, word: "I am " + p.site.Name()}
			p.runner.Close()
			p.runner, err = simnet.Run(p.site.Host, p.talked, simnet.RunOptions{Listen: []netip.AddrPort{at}}, func(now time.Time, e punch.TCPEvent) {
				if e.Kind == punch.TCPProven {
					if p.valid.IsZero() {
						p.valid = now
					}
					return
				}
				p.runner.Do(func(time.Time) { p.talked.say(e) })
			})
			p.check(err)
		}
	}
	return w
}

// settleTCP runs the world until both peers have heard each other on the connection
// that they keep, or one failed.
func (w *world) settleTCP(d time.Duration) (direct bool) {
	w.RunUntil(d, func() bool {
		a, b := w.peers[0].talked, w.peers[1].talked
		if a == nil || b == nil {
			return false
		}
		direct = a.heard == "I am b" && b.heard == "I am a"
		failed := func(m *talkative) bool { return m.end != nil && m.end.Kind == punch.TCPFailed }
		return direct || failed(a) || failed(b)
	})
	return direct
}

// Every pair of cone NATs gets a TCP connection at 5 % loss, the same one on both
// sides. Run it with -seeds=1000 -v for the table.
func TestTCPConePairsGetThrough(t *testing.T) {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "a\tb\tdirect\tfrom offer p50\tp99\tsame on both sides p99\t")
	for i, a := range cones {
		for _, b := range cones[i:] {
			var proven, agreed []float64
			first := pairSeed(i, b)
			for seed := first; seed < first+*seeds; seed++ {
				w := newTCPWorld(t, seed, a, b, .05)
				if !w.settleTCP(2 * time.Minute) {
					t.Errorf("%s and %s: not the same connection on both sides (seed %d): %+v and %+v", a, b, seed, w.peers[0].talked, w.peers[1].talked)
					continue
				}
				from := w.peers[0].offered
				if w.peers[1].offered.After(from) {
					from = w.peers[1].offered
				}
				for _, p := range w.peers {
					proven = append(proven, inRTTs(p.valid.Sub(from)))
					agreed = append(agreed, inRTTs(p.talked.end.At.Sub(from)))
					if p.talked.end.Local != p.tcpAddr() {
						t.Errorf("%s and %s: not from the punched port: %+v (seed %d)", a, b, p.talked.end, seed)
					}
				}
			}
			fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%.2f\t%.2f\t%.2f\t\n", a, b, len(proven)/2, *seeds,
				quantile(proven, .5), quantile(proven, .99), quantile(agreed, .99))
		}
	}
	tw.Flush()
	t.Logf("%d worlds a pair; path RTT %v, 5 %% loss each way; times in RTTs\n%s", *seeds, rtt, table.String())
}

// What NATs, firewalls and systems do to SYNs.
func TestTCPAgainstTheOddOnes(t *testing.T) {
	for _, c := range []struct {
		a, b          string
		listenerFirst bool
		through       bool
	}{
		{"open", "port-restricted-cone", false, true},
		{"open", "symmetric-random", false, true},
		{"firewall", "firewall", false, true},
		{"firewall", "udp-blocked", false, true},
		{"port-restricted-cone", "udp-blocked", false, true},
		{"port-restricted-cone", "port-restricted-cone", true, true},
		{"full-cone", "symmetric-random", false, true},
		{"open", "tcp-hostile", false, true},
		{"port-restricted-cone", "tcp-hostile", false, false},
		{"port-restricted-cone", "linux", false, true},
		{"linux", "linux", false, true},
		{"cgnat", "port-restricted-cone", false, true},
		{"port-restricted-cone", "symmetric-random", false, false},
	} {
		for seed := range uint64(10) {
			w := newTCPWorld(t, seed, c.a, c.b, .05)
			for _, p := range w.peers {
				p.site.SetListenerFirst(c.listenerFirst)
				if p.site.NAT != nil && c.b == "udp-blocked" {
					p.runner.Close()
					p.After(0, func() { p.join(nil) })
				}
			}
			if got := w.settleTCP(2 * time.Minute); got != c.through {
				t.Errorf("%s and %s, listener first %v: through is %v, want %v (seed %d)\n%+v\n%+v", c.a, c.b, c.listenerFirst, got, c.through, seed, w.peers[0].talked, w.peers[1].talked)
			}
		}
	}
}

// A peer that resets every SYN is dialled again with pauses, and is named in the end.
func TestTCPPeerThatResetsEverySYN(t *testing.T) {
	w := newTCPWorld(t, 1, "open", "open", 0)
	w.peers[1].startTCP = func(time.Time, []netip.AddrPort, []byte) { w.peers[1].runner.Close() }
	w.RunUntil(time.Minute, func() bool { return w.peers[0].talked != nil && w.peers[0].talked.end != nil })
	end := w.peers[0].talked.end
	var report *punch.PathError
	if end == nil || !errors.As(end.Err, &report) || !errors.Is(end.Err, syscall.ECONNREFUSED) {
		t.Fatalf("end %+v", end)
	}
	// Rests of 50, 100, 200, 400, 800 ms, then 1 s each, +-50 %, and an RTT a try.
	if tries := report.Tried[0].Tries; tries < 8 || tries > 22 {
		t.Errorf("%d dials in 10 s", tries)
	}
}
