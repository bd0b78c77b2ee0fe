package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/internal/stund"
	"github.com/bradawl/bradawl/natprobe"
)

// The servers of a world: one that supports RFC 5780, and two that tell addresses only.
var (
	capable = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:3478"), netip.MustParseAddrPort("192.0.2.1:3479"),
		netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.1:3479"),
	}
	capable6 = []netip.AddrPort{
		netip.MustParseAddrPort("[2001:db8:ffff::1]:3478"), netip.MustParseAddrPort("[2001:db8:ffff::1]:3479"),
		netip.MustParseAddrPort("[2001:db8:ffff::2]:3478"), netip.MustParseAddrPort("[2001:db8:ffff::2]:3479"),
	}
	limited = netip.MustParseAddrPort("192.0.2.20:3478")
	plain   = netip.MustParseAddrPort("198.51.100.20:3478")
)

// world is a host behind a NAT, in virtual time from one seed.
type world struct {
	*simnet.World
	t        *testing.T
	site     *simnet.Site
	software string
}

// named is a STUN server that names its software in all that it says, where it has a name.
type named struct {
	*stund.Machine
	software string
}

func (s *named) PollTransmit() (machine.Transmit, bool) {
	t, ok := s.Machine.PollTransmit()
	if ok && s.software != "" && len(t.Data) >= 20 {
		value := []byte(s.software + strings.Repeat(" ", -len(s.software)&3))
		t.Data = binary.BigEndian.AppendUint16(slices.Clone(t.Data), 0x8022) // SOFTWARE, RFC 8489 section 14.14
		t.Data = binary.BigEndian.AppendUint16(t.Data, uint16(len(value)))
		t.Data = append(t.Data, value...)
		binary.BigEndian.PutUint16(t.Data[2:], uint16(len(t.Data)-20))
	}
	return t, ok
}

func newWorld(t *testing.T, preset string) *world {
	t.Helper()
	return newWorldOf(t, preset, "")
}

func newWorldOf(t *testing.T, preset, software string) *world {
	t.Helper()
	w := &world{World: simnet.New(1), t: t, software: software}
	w.serve("capable", capable...)
	w.serve("capable by IPv6", capable6...)
	w.serve("limited", limited)
	w.serve("plain", plain)
	p, err := simnet.PresetByName(preset)
	w.check(err)
	w.site, err = w.AddSiteOf("client", p, simnet.Link{Delay: 20 * time.Millisecond})
	w.check(err)
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.Seed(), err)
	}
}

func (w *world) serve(name string, at ...netip.AddrPort) {
	s, err := stund.NewMachine(at, 0, w.Seed())
	w.check(err)
	m := &named{s, w.software}
	ips := []netip.Addr{at[0].Addr()}
	if last := at[len(at)-1].Addr(); last != ips[0] {
		ips = append(ips, last)
	}
	host := w.AddHost(name, w.Internet(), simnet.Link{MTU: 9000}, ips...)
	_, err = simnet.Run(host, m, simnet.RunOptions{Sockets: at, Listen: at}, nil)
	w.check(err)
}

// measure runs a discovery: the same in all runs of the test.
func (w *world) measure(servers ...netip.AddrPort) natprobe.Report {
	w.t.Helper()
	m, err := natprobe.NewDiscovery(servers, &natprobe.DiscoveryConfig{
		Secrets: w.Secrets("discovery"), Rand: rand.New(rand.NewPCG(w.Seed(), 7)), Fragments: true,
	})
	w.check(err)
	var report natprobe.Report
	done := false
	run, err := simnet.Run(w.site.Host, m, simnet.RunOptions{}, func(_ time.Time, e natprobe.DiscoveryEvent) {
		if e.Stage == natprobe.StageDone {
			report, done = e.Report, true
		}
	})
	w.check(err)
	run.Do(m.Start)
	if !w.RunUntil(time.Hour, func() bool { return done }) {
		w.t.Fatalf("seed %d: the discovery does not end", w.Seed())
	}
	return report
}

// measured is what is found behind a preset of the simulator.
func measured(t *testing.T, preset string) natprobe.Report {
	t.Helper()
	return newWorld(t, preset).measure(capable[0], limited)
}

// discovered is the same by natprobe.Discover, with all that natcheck can ask for, in virtual
// time; the ports differ from run to run.
func discovered(t *testing.T, preset string, servers ...string) (report natprobe.Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, preset)
		stop := w.Go()
		defer stop()
		var err error
		report, err = natprobe.Discover(t.Context(), natprobe.Config{
			Servers: servers, TCP: true, Lifetime: 3 * time.Minute, ListenPacket: w.site.ListenPacket, Dial: w.site.DialFrom,
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return report
}
