package simnet

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// ping asks n times and returns how many replies came, and the TTL of the last.
func ping(t *testing.T, from *Host, to netip.Addr, n int) (got, ttl int, rtt time.Duration) {
	t.Helper()
	c, err := from.DialEcho(to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range n {
		start := time.Now()
		if err := c.Send(uint16(i)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(start.Add(time.Second))
		seq, left, err := c.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil || seq != uint16(i) {
			t.Fatalf("reply %d to %d: %v", seq, i, err)
		}
		got, ttl, rtt = got+1, left, time.Since(start)
	}
	return got, ttl, rtt
}

func TestEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New(1)
		defer w.Go()()
		site, err := w.AddSite("site", "port-restricted-cone", Link{Delay: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		half, err := w.AddSiteOf("half", Preset{NATs: []NATConfig{{EchoLoss: .5}}}, Link{})
		if err != nil {
			t.Fatal(err)
		}
		silent, err := w.AddSiteOf("silent", Preset{NATs: []NATConfig{{EchoLoss: 1}}}, Link{})
		if err != nil {
			t.Fatal(err)
		}
		server := w.AddHost("server", w.Internet(), Link{})
		w.Internet().SetHops(3)

		if got, ttl, rtt := ping(t, server, site.NAT.Addrs()[0], 5); got != 5 || ttl != defaultTTL-3 || rtt != 20*time.Millisecond {
			t.Errorf("a NAT: %d of 5 replies, TTL %d, %v", got, ttl, rtt)
		}
		// From behind the NAT: the identifier is mapped there and back.
		if got, ttl, _ := ping(t, site.Host, server.Addr(), 5); got != 5 || ttl != defaultTTL-4 {
			t.Errorf("through a NAT: %d of 5 replies, TTL %d", got, ttl)
		}
		if got, _, _ := ping(t, server, half.NAT.Addrs()[0], 400); got < 150 || got > 250 {
			t.Errorf("a NAT that answers half: %d of 400", got)
		}
		if got, _, _ := ping(t, server, silent.NAT.Addrs()[0], 5); got != 0 {
			t.Errorf("a NAT that is silent: %d of 5", got)
		}
		server.SetEcho(false)
		if got, _, _ := ping(t, site.Host, server.Addr(), 5); got != 0 {
			t.Errorf("a host that is silent: %d of 5", got)
		}
	})
}
