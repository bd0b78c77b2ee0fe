package simnet

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkPackets sends datagrams between two hosts behind NATs as fast as the world
// moves them.
func BenchmarkPackets(b *testing.B) {
	for _, name := range []string{"open", "port-restricted-cone", "linux", "cgnat"} {
		b.Run(name, func(b *testing.B) {
			w := New(1)
			site, err := w.AddSite("a", name, Link{Delay: access, Jitter: time.Millisecond, Loss: .01})
			if err != nil {
				b.Fatal(err)
			}
			server := w.AddHost("server", w.Internet(), Link{})
			s, err := site.bind(at(site.Host, 5000))
			if err != nil {
				b.Fatal(err)
			}
			echo, err := server.bind(at(server, 3478))
			if err != nil {
				b.Fatal(err)
			}
			echo.receive = func(p *Packet) { echo.send(p.Src, p.Data, 0, false) }
			data := payload(100)
			b.ReportAllocs()
			for b.Loop() {
				s.send(echo.local, data, 0, false)
				w.Run(time.Millisecond)
			}
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkHundredHours is two hosts behind NATs that send each other a message a
// second for a hundred hours of virtual time.
func BenchmarkHundredHours(b *testing.B) {
	for b.Loop() {
		w := New(1)
		var sites [2]*Site
		for i := range sites {
			var err error
			if sites[i], err = w.AddSite(fmt.Sprint(i), "port-restricted-cone", Link{Delay: access, Jitter: access, Loss: .01}); err != nil {
				b.Fatal(err)
			}
		}
		got := 0
		for i, site := range sites {
			s, err := site.bind(at(site.Host, 5000))
			if err != nil {
				b.Fatal(err)
			}
			s.receive = func(*Packet) { got++ }
			other := netip.AddrPortFrom(sites[1-i].NAT.Addrs()[0], 5000)
			message := payload(100)
			var tick func()
			tick = func() {
				s.send(other, message, 0, false)
				w.After(time.Second, tick)
			}
			tick()
		}
		w.Run(100 * time.Hour)
		b.ReportMetric(float64(got), "messages")
	}
}

// BenchmarkSpray opens a mapping with each packet, as birthday probing does.
func BenchmarkSpray(b *testing.B) {
	for _, name := range []string{"port-restricted-cone", "symmetric-random", "linux"} {
		b.Run(name, func(b *testing.B) {
			w := New(1)
			site, err := w.AddSite("a", name, Link{})
			if err != nil {
				b.Fatal(err)
			}
			s, err := site.bind(at(site.Host, 5000))
			if err != nil {
				b.Fatal(err)
			}
			server := w.AddHost("server", w.Internet(), Link{})
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				s.send(at(server, uint16(1+n%65000)), nil, 0, false)
				w.Run(2500 * time.Microsecond) // 400 a second
			}
		})
	}
}
