package punch

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

func TestPingerAnswersRegisteredOnly(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: -1})
	p := ping{seq: 7, stamp: 0xdeadbeef}
	b.get(bob, pingProbe, p)
	if got := b.take(); len(got) != 0 {
		t.Errorf("answered a stranger: %v", got)
	}
	b.add(bob)
	if got := b.take(); len(got) != 0 || !b.NextTimeout().IsZero() {
		t.Errorf("a negative interval probes: %v, next %v", got, b.NextTimeout())
	}
	b.get(mallory, pingProbe, p)
	b.get(netip.AddrPortFrom(bob.Addr(), bob.Port()+1), pingProbe, p)
	b.get(bob, pingAnswer, p) // answers are not answered
	if got := b.take(); len(got) != 0 {
		t.Errorf("answered what it must not: %v", got)
	}
	b.get(bob, pingProbe, p)
	got := b.take()
	want := ping{pingAnswer, 7, 0xdeadbeef}.encode()
	if len(got) != 1 || got[0].Remote != bob || string(got[0].Data) != string(want[:]) {
		t.Fatalf("answer %+v", got)
	}
	if s := b.stats(); s.Served != 1 || s.Throttled != 0 || s.Strays != 1 {
		t.Errorf("stats %+v", s)
	}
	if !b.Remove(bob) || b.Remove(bob) {
		t.Error("Remove does not tell whether there was something to remove")
	}
	b.get(bob, pingProbe, p)
	if got := b.take(); len(got) != 0 {
		t.Errorf("answered a removed remote: %v", got)
	}
}

func TestPingerAnswerRate(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: -1})
	b.add(bob)
	b.add(mallory)
	for range 10000 { // a second
		b.get(mallory, pingProbe, ping{})
		b.wait(time.Second / 10000)
	}
	if n := len(b.take()); n < 200 || n > 252 {
		t.Errorf("10,000 probes within a second got %d answers", n)
	}
	if s, _ := b.Stats(b.now, mallory); s.Served+s.Throttled != 10000 || s.Throttled < 9700 {
		t.Errorf("stats %+v", s)
	}
	b.get(bob, pingProbe, ping{})
	if n := len(b.take()); n != 1 {
		t.Error("one remote's flood costs another its answers")
	}

	b = newBench(t, PingerConfig{Interval: -1, AnswerRate: -1})
	b.add(bob)
	b.get(bob, pingProbe, ping{})
	if s := b.stats(); len(b.take()) != 0 || s.Throttled != 1 {
		t.Errorf("answered with AnswerRate off: %+v", s)
	}
}

func TestPingerForgedAndDuplicated(t *testing.T) {
	b := newBench(t, PingerConfig{})
	b.add(bob)
	p := b.probe()
	for i, f := range []ping{
		{seq: p.seq + 1, stamp: p.stamp}, {seq: p.seq - 1, stamp: p.stamp},
		{seq: p.seq, stamp: p.stamp + 1}, {seq: p.seq, stamp: p.stamp ^ 1<<31},
	} {
		b.get(bob, pingAnswer, f)
		if s := b.stats(); s.Strays != i+1 || s.Received != 0 {
			t.Errorf("forgery %d: %+v", i, s)
		}
	}
	b.get(mallory, pingAnswer, p)
	if s := b.stats(); s.Strays != 4 || s.Received != 0 {
		t.Errorf("the right answer from the wrong place: %+v", s)
	}
	b.wait(5 * ms)
	b.get(bob, pingAnswer, p)
	b.wait(5 * ms)
	b.get(bob, pingAnswer, p)
	b.get(bob, pingAnswer, p)
	if s := b.stats(); s.Received != 1 || s.Duplicates != 2 || s.Last != 5*ms || s.Strays != 4 {
		t.Errorf("an answer three times: %+v", s)
	}
}

func TestPingerStartsAtRandom(t *testing.T) {
	seen := map[ping]bool{}
	for i := range byte(4) {
		m, err := newPingerMachine(time.Unix(0, 0), PingerConfig{}, rand.NewChaCha8([32]byte{i}))
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, now: time.Unix(0, 0), pingerMachine: m}
		b.add(bob)
		b.add(mallory)
		b.wait(10 * ms)
		for _, out := range b.take() {
			p, _ := decodePing(out.Data)
			p.seq = 0
			seen[p] = true
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d different timestamps from 8 fresh remotes", len(seen))
	}
}

func TestPingerReorderedAndWrapping(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: 10 * ms, Deadline: -1})
	b.add(bob)
	r := b.byAddr[bob]
	r.first, r.origin = 0xfff0, math.MaxUint32-50_000 // 16 probes, 50 ms, before the end
	r.flights = nil
	b.take()
	b.wait(640 * ms)
	sent := b.take()
	if len(sent) != 64 {
		t.Fatalf("%d probes in 640 ms, want 64", len(sent))
	}
	first, _ := decodePing(sent[0].Data)
	last, _ := decodePing(sent[63].Data)
	if first.seq != 0xfff0 || last.seq != 0x002f || last.stamp > first.stamp {
		t.Fatalf("probes from %+v to %+v do not wrap", first, last)
	}
	const seed = 3
	order := rand.New(rand.NewPCG(seed, 0)).Perm(64)
	reordered, highest := 0, -1
	for _, i := range order {
		p, _ := decodePing(sent[i].Data)
		b.get(bob, pingAnswer, p)
		if i < highest {
			reordered++
		}
		highest = max(highest, i)
	}
	s := b.stats()
	if s.Received != 64 || s.Reordered != reordered || s.Strays+s.Duplicates != 0 || s.Min != 0 || s.Max != 630*ms {
		t.Errorf("got %+v, want 64 answers of which %d were overtaken (seed %d)", s, reordered, seed)
	}
	for i, e := range b.events {
		if want := time.Duration(63-order[i]) * 10 * ms; e.RTT != want {
			t.Errorf("answer to probe %d: RTT %v, want %v (seed %d)", order[i], e.RTT, want, seed)
		}
	}
}

func TestPingerStamps(t *testing.T) {
	for _, c := range []struct {
		name  string
		stamp time.Duration // against the wall clock when the answer is handled
		none  bool
		want  time.Duration
	}{
		{name: "no stamp", none: true, want: 10 * ms},
		{name: "waited 3 ms", stamp: -3 * ms, want: 7 * ms},
		{name: "did not wait", stamp: 0, want: 10 * ms},
		{name: "from the future", stamp: 5 * ms, want: 10 * ms},
		{name: "from before the probe", stamp: -11 * ms, want: 10 * ms},
		{name: "from another age", stamp: -1e6 * time.Hour, want: 10 * ms},
	} {
		b := newBench(t, PingerConfig{})
		b.now = time.Now() // with a monotonic reading, as a shell's
		b.started = b.now
		b.add(bob)
		p := b.probe()
		b.wait(10 * ms)
		p.kind = pingAnswer
		data := p.encode()
		d := machine.Datagram{Remote: bob, Data: data[:]}
		if !c.none {
			d.Stamp = b.now.Add(c.stamp).Round(0)
		}
		b.HandleDatagram(b.now, d)
		b.drain()
		stamped := 0
		if c.want != 10*ms || c.stamp == 0 && !c.none {
			stamped = 1
		}
		if s := b.stats(); s.Last != c.want || s.Stamped != stamped {
			t.Errorf("%s: RTT %v, %d stamped; want %v, %d", c.name, s.Last, s.Stamped, c.want, stamped)
		}
	}
}

func TestPingerBounds(t *testing.T) {
	b := newBench(t, PingerConfig{Interval: MinPingInterval, LostAfter: MaxPingLostAfter})
	b.add(bob)
	b.wait(10 * time.Second)
	if n := len(b.take()); n != maxPingFlights || b.stats().Lost != 0 {
		t.Errorf("%d probes open, %+v; want %d and none lost", n, b.stats(), maxPingFlights)
	}
	b.wait(25 * time.Second)
	if s := b.stats(); s.Pending() != maxPingFlights || s.Lost != s.Sent-maxPingFlights {
		t.Errorf("after 35 s: %+v", s)
	}

	b = newBench(t, PingerConfig{})
	for i := range MaxPingRemotes {
		if err := b.Add(b.now, netip.AddrPortFrom(bob.Addr(), uint16(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	var config *ConfigError
	if err := b.Add(b.now, netip.AddrPortFrom(bob.Addr(), 60000)); !errors.As(err, &config) || config.Field != "remote" {
		t.Errorf("one more than the greatest number of remotes: %v", err)
	}
	b.wait(0)
	if n := len(b.take()); n != 1 {
		t.Errorf("%d probes at once to fresh remotes, want them 5 ms apart", n)
	}
	b.wait(995 * ms)
	if n := len(b.take()); n != 199 {
		t.Errorf("%d probes more within a second, want 199", n)
	}
}
