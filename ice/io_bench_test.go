package ice_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// BenchmarkIdleAgents connects 1,000 pairs of agents over one socket a side and reports
// what an agent costs that is connected and idle. pion/ice v2 has 4 goroutines and 36 KiB
// an agent.
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
		b.ReportMetric(float64(goroutinesSettled()), "goroutines")
		b.ReportMetric(float64(goroutines), "goroutines-before")
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

func goroutinesSettled() int { return runtime.NumGoroutine() }

// loopbackOnly makes an endpoint use 127.0.0.1 alone.
func loopbackOnly(cfg ice.Config) ice.Config {
	cfg.Loopback = true
	cfg.Filter = func(h ice.HostAddr) bool { return h.Addr.IsLoopback() }
	return cfg
}

// BenchmarkConn measures a datagram of 1,200 bytes through Write and Read on loopback,
// beside a plain UDP socket with a reader goroutine, in the same run.
func BenchmarkConn(b *testing.B) {
	b.Run("ice", func(b *testing.B) {
		x, y := loopbackPair(b, ice.Config{Networks: []string{"udp4"}})
		introduce(b, x, y)
		introduce(b, y, x)
		cx, err := x.Connect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		cy, err := y.Connect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for x.State() != ice.Completed || y.State() != ice.Completed {
			runtime.Gosched()
		}
		pingPong(b, cx, cy)
	})
	b.Run("udp", func(b *testing.B) {
		x, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		defer x.Close()
		y, err := net.DialUDP("udp4", nil, x.LocalAddr().(*net.UDPAddr))
		if err != nil {
			b.Fatal(err)
		}
		defer y.Close()
		pingPong(b, y, x)
	})
}

func pingPong(b *testing.B, from, to net.Conn) {
	data, buf := make([]byte, 1200), make([]byte, 2000)
	data[0] = 128
	b.ReportAllocs()
	b.SetBytes(1200)
	for b.Loop() {
		if _, err := from.Write(data); err != nil {
			b.Fatal(err)
		}
		if _, err := to.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
