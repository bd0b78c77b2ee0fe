package peerbench

import (
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"
)

// traffic sends a datagram every so often to a peer that echoes, and notes when echoes
// come again and what writes say.
type traffic struct {
	d     *diary
	relay net.PacketConn
	every time.Duration

	last     time.Duration // when the last echo came
	echoes   int
	accepted atomic.Int64 // writes that said that all was well, since the last echo
	err      string
}

func (tr *traffic) run(to net.Addr, until time.Duration) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 100)
		for {
			if _, _, err := tr.relay.ReadFrom(buf); err != nil {
				return
			}
			now := tr.d.w.elapsed()
			if gap := now - tr.last; tr.echoes > 0 && gap > 5*tr.every {
				tr.d.note("echoes come again, after %.1f s without any", gap.Seconds())
			}
			tr.last = now
			tr.echoes++
			tr.accepted.Store(0)
		}
	}()
	for tr.d.w.elapsed() < until {
		_, err := tr.relay.WriteTo([]byte("x"), to)
		if text := fmt.Sprint(err); text != tr.err {
			if tr.err != "" {
				tr.d.note("a write says: %.100s", text)
			}
			tr.err = text
		}
		if err == nil {
			tr.accepted.Add(1)
		}
		<-time.After(tr.every)
	}
	tr.relay.SetReadDeadline(time.Now())
	<-read
}

// outcome says how the allocation came through.
func (tr *traffic) outcome(before string, end time.Duration) string {
	switch {
	case end-tr.last > 5*tr.every:
		return "lost"
	case tr.relay.LocalAddr().String() == before:
		return "kept"
	default:
		return "regained"
	}
}

// outage is a time at which the server is not there.
type outage struct {
	begin, length time.Duration
	forgets       bool // it comes back knowing nothing, as after a crash; else it was cut off
}

var whatServer = map[bool]string{false: "cut off", true: "restarted"}

// ride is how both clients went through an outage.
type ride struct {
	server   *diary
	traffic  [2]*traffic // ours, pion's
	outcomes [2]string
}

// rideOut has both clients go through an outage and for ten minutes more. Both have a
// lifetime of 600 s.
func rideOut(t *testing.T, o outage) (r ride) {
	inWorld(t, func(t *testing.T, w *world) {
		end := o.begin + o.length + 10*time.Minute
		wait := r.start(w, time.Second, end)
		<-time.After(o.begin - w.elapsed())
		r.server.note("not there")
		if w.unplug(true); o.forgets {
			w.stop()
		}
		<-time.After(o.length)
		r.server.note("back")
		if w.unplug(false); o.forgets {
			w.serve()
		}
		wait()
	})
	return r
}

// start has both clients send until end, to one peer. wait waits for them.
func (r *ride) start(w *world, every, end time.Duration) (wait func()) {
	at, stopEcho := w.echo("peer")
	r.server = w.diary()
	var wg sync.WaitGroup
	for i := range r.traffic {
		tr := &traffic{d: w.diary(), every: every}
		relay, stop := w.open(i, tr.d)
		tr.relay = relay
		r.traffic[i] = tr
		wg.Go(func() {
			defer stop()
			before := relay.LocalAddr().String()
			tr.run(net.UDPAddrFromAddrPort(at), end)
			r.outcomes[i] = tr.outcome(before, end)
			tr.d.end("%s; last echo at %.1f s, %d writes accepted since", r.outcomes[i], tr.last.Seconds(), tr.accepted.Load())
		})
	}
	return func() {
		wg.Wait()
		stopEcho()
	}
}

// logTable logs rows whose cells are separated by tabs.
func logTable(t *testing.T, rows string) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, rows)
	w.Flush()
	t.Logf("\n%s", &b)
}

// An outage of 300 s at a lifetime of 600 s: our client keeps or regains its allocation
// by itself. pion's loses it for good, and its writes go on saying that all is well.
func TestTURNOutageSideBySide(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(whatServer[forgets], func(t *testing.T) {
			r := rideOut(t, outage{200 * time.Second, 300 * time.Second, forgets})
			logTable(t, "time\tserver\tours\tpion/turn v4\n"+sideBySide(r.server, r.traffic[0].d, r.traffic[1].d))
			if r.outcomes[0] == "lost" || r.outcomes[1] != "lost" {
				t.Errorf("ours %s, pion's %s", r.outcomes[0], r.outcomes[1])
			}
		})
	}
}

var outageStep = flag.Duration("outage-step", 100*time.Second, "time between the beginnings of outages")

// The same for outages that begin at other times and last for less: how many of them an
// allocation comes through.
func TestTURNOutages(t *testing.T) {
	rows := "server is\tfor\tclient\tkept\tregained\tlost\n"
	for _, forgets := range []bool{false, true} {
		for _, length := range []time.Duration{10 * time.Second, 60 * time.Second, 300 * time.Second} {
			var count [2]map[string]int
			for i := range count {
				count[i] = make(map[string]int)
			}
			for begin := 50 * time.Second; begin < 600*time.Second; begin += *outageStep {
				r := rideOut(t, outage{begin, length, forgets})
				for i, outcome := range r.outcomes {
					count[i][outcome]++
				}
				if r.outcomes[0] == "lost" {
					t.Errorf("server %s at %v for %v: ours is lost", whatServer[forgets], begin, length)
				}
			}
			for i, name := range []string{"ours", "pion"} {
				rows += fmt.Sprintf("%s\t%v\t%s\t%d\t%d\t%d\n", whatServer[forgets], length, name, count[i]["kept"], count[i]["regained"], count[i]["lost"])
			}
		}
	}
	logTable(t, rows)
}

// The server's nonces last for an hour. Both clients go on for three, at the same
// address.
func TestTURNStaleNonces(t *testing.T) {
	var r ride
	var stale [2]int
	inWorld(t, func(t *testing.T, w *world) {
		r.start(w, 10*time.Second, 3*time.Hour)()
		stale = w.stale
	})
	for i, name := range clients {
		t.Logf("%s: %s, %d echoes, %d nonces rejected", name, r.outcomes[i], r.traffic[i].echoes, stale[i])
	}
	if r.outcomes[0] != "kept" || stale[0] < 2 || r.traffic[0].echoes < 1079 {
		t.Error("ours did not come through")
	}
}
