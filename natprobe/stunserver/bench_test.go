package stunserver_test

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/natprobe/stunserver"
)

// BenchmarkListen compares the answers a second of a server with one and with two
// readers with those of a bare UDP echo on one socket, all over loopback and with
// the clients on the same processors.
func BenchmarkListen(b *testing.B) {
	var b0 wire.Builder
	b0.Reset(wire.BindingRequest, wire.TransactionID{1})
	request := b0.Bytes()
	var echo float64
	b.Run("echo", func(b *testing.B) {
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			b.Fatal(err)
		}
		pc.SetReadBuffer(1 << 20)
		var ended sync.WaitGroup
		ended.Go(func() {
			for buf := make([]byte, 1500); ; {
				n, from, err := pc.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				pc.WriteToUDPAddrPort(buf[:n], from)
			}
		})
		defer ended.Wait()
		defer pc.Close()
		echo = flood(b, pc.LocalAddr().(*net.UDPAddr).AddrPort(), request)
	})
	for _, readers := range []int{1, 2} {
		b.Run(fmt.Sprint("readers=", readers), func(b *testing.B) {
			if readers > 1 && runtime.GOOS == "windows" {
				b.Skip("no shared ports")
			}
			server, err := stunserver.Listen(b.Context(), stunserver.Config{Port1: -1, Port2: -1, AnswersPerSecond: -1, Readers: readers})
			if err != nil {
				b.Fatal(err)
			}
			defer server.Close()
			rate := flood(b, server.Addrs()[0], request)
			if echo > 0 {
				b.ReportMetric(rate/echo, "of-echo")
			}
		})
	}
}

// flood asks b.N times from 16 sockets and returns the answers a second. Each keeps
// 8 requests under way, so that neither side waits for the other to be woken.
func flood(b *testing.B, to netip.AddrPort, request []byte) float64 {
	const clients, window = 16, 8
	var conns [clients]*net.UDPConn
	for i := range conns {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Minute)) // should one be lost after all
		conns[i] = c
	}
	var ended sync.WaitGroup
	b.ResetTimer()
	for i, c := range conns {
		ended.Go(func() {
			buf := make([]byte, 1500)
			todo := b.N / clients
			if i < b.N%clients {
				todo++
			}
			for sent, got := 0, 0; got < todo; got++ {
				for ; sent < min(got+window, todo); sent++ {
					if _, err := c.Write(request); err != nil {
						b.Error(err)
						return
					}
				}
				if _, err := c.Read(buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	ended.Wait()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "answers/s")
	return rate
}
