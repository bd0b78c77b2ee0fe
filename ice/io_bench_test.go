package ice_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// BenchmarkIdleAgents connects 1,000 pairs of agents over one socket a side and reports
// what an agent costs that is connected and idle, and how many goroutines there are with
// and without the agents. internal/peerbench has pion's agents beside them.
//
//	go test -run '^$' -bench IdleAgents -benchtime 1x ./ice
func BenchmarkIdleAgents(b *testing.B) {
	const pairs = 1000
	for b.Loop() {
		var ends [2]*ice.Endpoint
		for i := range ends {
			e, err := ice.Listen(b.Context(), loopbackOnly(ice.Config{Networks: []string{"udp4"}}))
			if err != nil {
				b.Fatal(err)
			}
			e.Unpaced()
			ends[i] = e
		}
		before, goroutines := inUse(), runtime.NumGoroutine()
		agents := make([]*ice.Agent, 0, 2*pairs)
		for range pairs {
			for i, e := range ends {
				a, err := e.NewAgent(ice.AgentConfig{Controlling: i == 0, Pace: 5 * time.Millisecond})
				if err != nil {
					b.Fatal(err)
				}
				agents = append(agents, a)
			}
		}
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		for i := 0; i < len(agents); i += 2 {
			introduce(b, agents[i], agents[i+1])
			introduce(b, agents[i+1], agents[i])
		}
		for _, a := range agents {
			if _, err := a.Connect(ctx); err != nil {
				b.Fatal(err)
			}
			for a.State() != ice.Completed {
				if _, err := a.Next(ctx); err != nil {
					b.Fatal(err)
				}
			}
			drainEvents(a)
		}
		cancel()
		b.ReportMetric(float64(inUse()-before)/float64(len(agents)), "B/agent")
		if n := runtime.NumGoroutine(); n > 10 {
			b.Errorf("%d goroutines", n)
		}
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
		b.ReportMetric(float64(goroutines), "without")
		for _, e := range ends {
			if err := e.Close(); err != nil {
				b.Error(err)
			}
		}
	}
}

// introduce tells one agent all of another.
func introduce(tb testing.TB, from, to *ice.Agent) {
	tb.Helper()
	if err := to.SetRemote(from.LocalCredentials()); err != nil {
		tb.Fatal(err)
	}
	for _, c := range from.LocalCandidates() {
		if err := to.AddRemote(c.Candidate); err != nil {
			tb.Fatal(err)
		}
	}
}

func drainEvents(a *ice.Agent) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if _, err := a.Next(ctx); err != nil {
			return
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// loopbackOnly makes an endpoint use 127.0.0.1 alone.
func loopbackOnly(cfg ice.Config) ice.Config {
	cfg.Loopback = true
	cfg.Filter = func(h ice.HostAddr) bool { return h.Addr.IsLoopback() }
	return cfg
}

// TestDataTakesNoMemory: what is written and read leaves no work for the collector.
func TestDataTakesNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random; run it without -race")
	}
	x, y := loopbackPair(t, ice.Config{Networks: []string{"udp4"}})
	introduce(t, x, y)
	introduce(t, y, x)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	from, err := x.Connect(ctx)
	check(t, err)
	to, err := y.Connect(ctx)
	check(t, err)
	for _, a := range []*ice.Agent{x, y} { // which takes some
		for a.State() != ice.Completed {
			_, err := a.Next(ctx)
			check(t, err)
		}
	}
	data, buf := make([]byte, 1200), make([]byte, 2000)
	const datagrams = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range datagrams {
		_, err := from.Write(data)
		check(t, err)
		check(t, to.SetReadDeadline(time.Now().Add(10*time.Second))) // for each: all of them take a busy machine longer
		_, err = to.Read(buf)
		check(t, err)
	}
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / datagrams; each > 0.1 {
		t.Errorf("%.2f allocations a datagram", each)
	}
}
