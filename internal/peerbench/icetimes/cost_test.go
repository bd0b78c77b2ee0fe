package icetimes

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/ice"
)

var pairs = flag.Int("pairs", 100, "pairs of agents for BenchmarkIdleAgents")

// BenchmarkIdleAgents tells what an agent costs that is connected and idle: bytes of heap
// and stacks, and goroutines.
//
//	go test ./icetimes -run '^$' -bench IdleAgents -benchtime 1x -pairs 1000
func BenchmarkIdleAgents(b *testing.B) {
	for _, c := range crowds {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				bytes, goroutines := inUse(), runtime.NumGoroutine()
				crowd, err := c.make()
				if err != nil {
					b.Fatal(err)
				}
				var all []agent
				for range *pairs {
					agents, _, _, err := crowd.pair(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					all = append(all, agents...)
				}
				for _, a := range all {
					settle(b, a)
				}
				b.ReportMetric((float64(inUse())-float64(bytes))/float64(len(all)), "B/agent")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/float64(len(all)), "goroutines/agent")
				b.ReportMetric(0, "ns/op") // closing is part of it
				if err := crowd.close(all...); err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// settle waits until an agent has agreed on a pair, and takes its events as programs do.
// pion's agents have no other state once they can send.
func settle(tb testing.TB, a agent) {
	tb.Helper()
	o, ok := a.(*ours)
	if !ok {
		return
	}
	for o.agent.State() != ice.Completed {
		if _, err := o.agent.Next(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	now, cancel := context.WithCancel(tb.Context())
	cancel()
	for {
		if _, err := o.agent.Next(now); err != nil {
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

// burst is how many datagrams are under way at once, less than any of the buffers holds.
const burst = 32

// BenchmarkConn tells what a datagram of 1,200 bytes costs from Write to Read on loopback,
// one at a time and 32 at once, beside plain UDP with a goroutine that reads the socket
// and hands the datagrams on, as every agent must have one; and beside plain UDP without.
//
//	go test ./icetimes -run '^$' -bench Conn$ -count 5
func BenchmarkConn(b *testing.B) {
	conns := []struct {
		name string
		make func(b *testing.B) (from, to io.ReadWriter)
	}{
		{"udp", plainUDP},
		{"udp-read-ahead", func(b *testing.B) (from, to io.ReadWriter) {
			from, to = plainUDP(b)
			return from, readAhead(b, to)
		}},
	}
	for _, c := range crowds {
		conns = append(conns, struct {
			name string
			make func(b *testing.B) (from, to io.ReadWriter)
		}{c.name, func(b *testing.B) (_, _ io.ReadWriter) {
			crowd, err := c.make()
			if err != nil {
				b.Fatal(err)
			}
			agents, from, to, err := crowd.pair(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := crowd.close(agents...); err != nil {
					b.Error(err)
				}
			})
			for _, a := range agents {
				settle(b, a)
			}
			return from, to
		}})
	}
	for _, size := range []int{1, burst} {
		for _, c := range conns {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				from, to := c.make(b)
				data, buf := make([]byte, 1200), make([]byte, 2000)
				data[0] = 128 // no STUN
				b.ReportAllocs()
				b.SetBytes(int64(size * len(data)))
				began := processTime()
				for b.Loop() {
					for range size {
						if _, err := from.Write(data); err != nil {
							b.Fatal(err)
						}
					}
					for range size {
						if n, err := to.Read(buf); n != len(data) || err != nil {
							b.Fatal(n, err)
						}
					}
				}
				b.ReportMetric(float64(processTime()-began)/float64(b.N*size), "cpu-ns/datagram")
				b.ReportMetric(float64(b.Elapsed())/float64(b.N*size), "ns/datagram")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// processTime is the time that the process has had of the processors, which other work on
// the machine hardly changes.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func plainUDP(b *testing.B) (from, to io.ReadWriter) {
	b.Helper()
	var ends [2]*net.UDPConn
	for i := range ends {
		var err error
		if ends[i], err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = ends[i].Close() })
	}
	return &unconnected{ends[0], ends[1].LocalAddr().(*net.UDPAddr).AddrPort()}, &unconnected{ends[1], ends[0].LocalAddr().(*net.UDPAddr).AddrPort()}
}

// unconnected is a socket that talks to one peer and could to others, as agents' do.
type unconnected struct {
	*net.UDPConn
	peer netip.AddrPort
}

func (u *unconnected) Write(b []byte) (int, error) { return u.WriteToUDPAddrPort(b, u.peer) }

func (u *unconnected) Read(b []byte) (int, error) {
	n, _, err := u.ReadFromUDPAddrPort(b)
	return n, err
}

// ahead reads from a channel what a goroutine has read from a connection.
type ahead struct {
	io.Writer
	full, free chan []byte
}

func readAhead(b *testing.B, c io.ReadWriter) io.ReadWriter {
	a := &ahead{Writer: c, full: make(chan []byte, 2*burst), free: make(chan []byte, 2*burst)}
	for range 2 * burst {
		a.free <- make([]byte, 2000)
	}
	go func() {
		defer close(a.full)
		for buf := range a.free {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			a.full <- buf[:n]
		}
	}()
	return a
}

func (a *ahead) Read(b []byte) (int, error) {
	buf, ok := <-a.full
	if !ok {
		return 0, net.ErrClosed
	}
	n := copy(b, buf)
	a.free <- buf[:cap(buf)]
	return n, nil
}
