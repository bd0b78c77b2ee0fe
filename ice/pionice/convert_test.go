package pionice

import (
	"errors"
	"flag"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

var seeds = flag.Uint64("seeds", 2000, "how many random candidates TestThroughPionAndBack converts")

// randomCandidate makes any candidate that passes Check.
func randomCandidate(rng *rand.Rand) ice.Candidate {
	const chars = "ABCxyz0189+/"
	pick := func(n int) string {
		b := make([]byte, 1+rng.IntN(n))
		for i := range b {
			b[i] = chars[rng.IntN(len(chars))]
		}
		return string(b)
	}
	ip := func() netip.Addr {
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.Uint32())})
		}
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(rng.Uint32())})
	}
	c := ice.Candidate{
		Foundation: pick(32),
		Component:  uint16(1 + rng.IntN(256)),
		Priority:   1 + rng.Uint32N(1<<31-1),
		Type:       ice.CandidateType(rng.IntN(4)),
		Addr:       netip.AddrPortFrom(ip(), uint16(rng.Uint32())),
	}
	if rng.IntN(4) == 0 {
		c.Addr = netip.AddrPortFrom(netip.Addr{}, c.Addr.Port())
		c.Name = []string{"0b8f2a3c-1d4e-4f60-9a7b-123456789abc.local", "stun.example.org", "X.Local"}[rng.IntN(3)]
	}
	if rng.IntN(3) == 0 {
		c.Transport, c.TCPType = ice.TCP, ice.TCPType(1+rng.IntN(3))
	}
	if rng.IntN(2) == 0 {
		c.Related = netip.AddrPortFrom(ip(), uint16(rng.Uint32()))
	}
	if rng.IntN(8) == 0 {
		c.Related = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(rng.IntN(12)))
	}
	for range rng.IntN(3) {
		c.Extensions = append(c.Extensions, ice.Extension{Name: "x-" + pick(8), Value: pick(8)})
	}
	return c
}

func TestThroughPionAndBack(t *testing.T) {
	whole, refused, lossy := 0, 0, 0
	for seed := range *seeds {
		c := randomCandidate(rand.New(rand.NewPCG(seed, 7)))
		if c.Check() != nil { // the hidden address, which is to be left out
			continue
		}
		p, err := ToPion(c)
		var bad *ConvertError
		switch {
		case errors.As(err, &bad):
			if fqdn := c.Name != "" && (c.Type != ice.Host || !c.IsMDNS()); !fqdn && (c.Transport == ice.UDP || c.Type == ice.Host) {
				t.Errorf("seed %d: %v: refused: %v", seed, c, err)
			}
			refused++
			continue
		case err != nil:
			t.Fatalf("seed %d: %v: %v", seed, c, err)
		}
		back, err := FromPion(p)
		if err != nil {
			t.Fatalf("seed %d: %v: back: %v", seed, c, err)
		}
		want := c
		lost := Lost(c)
		if len(lost) == 0 {
			whole++
		} else {
			lossy++
		}
		if slices.Contains(lost, "raddr") {
			want.Related = netip.AddrPort{}
		}
		want.Extensions = slices.DeleteFunc(slices.Clone(c.Extensions), func(e ice.Extension) bool { return slices.Contains(lost, e.Name) })
		if len(want.Extensions) == 0 {
			want.Extensions = nil
		}
		if want.IsMDNS() {
			want.Name = want.Name[:len(want.Name)-6] + ".local"
		}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("seed %d: came back as\n%+v, want\n%+v", seed, back, want)
		}
	}
	if whole == 0 || refused == 0 || lossy == 0 {
		t.Errorf("%d whole, %d refused, %d lossy; want some of each", whole, refused, lossy)
	}
}

// What pion's agent does with a candidate depends on these.
func TestToPionFillsWhatPionLooksAt(t *testing.T) {
	tests := []struct {
		text    string
		network pion.NetworkType
		tcp     pion.TCPType
	}{
		{"candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host", pion.NetworkTypeUDP4, pion.TCPTypeUnspecified},
		{"candidate:1 1 udp 2130706431 2001:db8::1 5000 typ host", pion.NetworkTypeUDP6, pion.TCPTypeUnspecified},
		{"candidate:1 1 tcp 1671430143 192.0.2.1 9 typ host tcptype active", pion.NetworkTypeTCP4, pion.TCPTypeActive},
		{"candidate:1 1 tcp 1671430143 2001:db8::1 5000 typ host tcptype passive", pion.NetworkTypeTCP6, pion.TCPTypePassive},
		{"candidate:1 1 tcp 1671430143 192.0.2.1 5000 typ host tcptype so", pion.NetworkTypeTCP4, pion.TCPTypeSimultaneousOpen},
		{"candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 10.0.0.1 rport 5001", pion.NetworkTypeUDP4, pion.TCPTypeUnspecified},
		{"candidate:1 1 udp 1862270975 192.0.2.9 5000 typ prflx raddr 10.0.0.1 rport 5001", pion.NetworkTypeUDP4, pion.TCPTypeUnspecified},
		{"candidate:1 1 udp 16777215 192.0.2.9 5000 typ relay raddr 192.0.2.10 rport 5001", pion.NetworkTypeUDP4, pion.TCPTypeUnspecified},
	}
	for _, tt := range tests {
		c, err := ice.ParseCandidate(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ToPion(c)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if p.NetworkType() != tt.network || p.TCPType() != tt.tcp || "candidate:"+p.Marshal() != tt.text {
			t.Errorf("%s: pion has %v, side %q, %q", tt.text, p.NetworkType(), p.TCPType(), p.Marshal())
		}
	}
}

func TestToPionRefuses(t *testing.T) {
	good, err := ice.ParseCandidate("candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 10.0.0.1 rport 5001")
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*ice.Candidate)) ice.Candidate {
		c := good
		f(&c)
		return c
	}
	named := func(c *ice.Candidate, name string) {
		c.Name, c.Addr = name, netip.AddrPortFrom(netip.Addr{}, 5000)
	}
	tests := []struct {
		name string
		c    ice.Candidate
		says string
		ours bool // an error of package ice
	}{
		{"zero", ice.Candidate{}, "foundation", true},
		{"no address", change(func(c *ice.Candidate) { c.Addr = netip.AddrPort{} }), "address", true},
		{"IPv4-mapped", change(func(c *ice.Candidate) { c.Addr = netip.MustParseAddrPort("[::ffff:192.0.2.1]:5") }), "mapped", true},
		{"no priority", change(func(c *ice.Candidate) { c.Priority = 0 }), "priority", true},
		{"a domain name", change(func(c *ice.Candidate) { c.Type = ice.Host; named(c, "host.example.org") }), "resolve it", false},
		{"an mDNS name of no host candidate", change(func(c *ice.Candidate) { named(c, "abc.local") }), "resolve it", false},
		{"a TCP candidate that is reflexive", change(func(c *ice.Candidate) { c.Transport, c.TCPType = ice.TCP, ice.Passive }), "tcptype", false},
	}
	for _, tt := range tests {
		p, err := ToPion(tt.c)
		if p != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, error %v; want none, and an error that says %q", tt.name, p, err, tt.says)
			continue
		}
		var theirs *ConvertError
		var ours *ice.CandidateError
		if errors.As(err, &ours) != tt.ours || errors.As(err, &theirs) == tt.ours {
			t.Errorf("%s: the error is a %T", tt.name, err)
		}
	}
}

func TestFromPionOfWhatPionParsed(t *testing.T) {
	tests := []struct{ text, want, fails string }{
		// pion takes "candidate:" for a part of the foundation.
		{"candidate:4207374051 1 udp 2130706431 192.0.2.1 5000 typ host", "candidate:4207374051 1 udp 2130706431 192.0.2.1 5000 typ host", ""},
		{"4207374051 1 UDP 2130706431 2001:db8::1 5000 typ host", "candidate:4207374051 1 udp 2130706431 2001:db8::1 5000 typ host", ""},
		// It drops extensions.
		{"1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0 ufrag abcd", "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host", ""},
		// It drops tcptype where raddr stands before it, and off host candidates.
		{"1 1 tcp 1671430143 192.0.2.1 9 typ host tcptype active", "candidate:1 1 tcp 1671430143 192.0.2.1 9 typ host tcptype active", ""},
		{"1 1 tcp 1671430143 192.0.2.1 5000 typ host", "candidate:1 1 tcp 1671430143 192.0.2.1 5000 typ host tcptype passive", ""},
		{"1 1 tcp 1015021823 192.0.2.9 9 typ srflx raddr 10.0.0.1 rport 9 tcptype active", "", "lost the side"},
		// It takes the candidate of an mDNS name for UDP.
		{"1 1 udp 2130706431 0b8f2a3c.local 5000 typ host", "candidate:1 1 udp 2130706431 0b8f2a3c.local 5000 typ host", ""},
		{"1 1 tcp 1671430143 0b8f2a3c.local 9 typ host tcptype active", "candidate:1 1 tcp 1671430143 0b8f2a3c.local 9 typ host tcptype active", ""},
		// Hidden, absent and unreadable related addresses.
		{"1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 9", "candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 9", ""},
		{"1 1 udp 1694498815 192.0.2.9 5000 typ srflx", "candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 9", ""},
		{"1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr abc.local rport 5001", "candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 9", ""},
		{"1 1 udp 1694498815 2001:db8::9 5000 typ srflx raddr :: rport 9", "candidate:1 1 udp 1694498815 2001:db8::9 5000 typ srflx raddr :: rport 9", ""},
		{"1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 0", "candidate:1 1 udp 1694498815 192.0.2.9 5000 typ srflx raddr 0.0.0.0 rport 0", ""},
		{"1 1 udp 1694498815 192.0.2.9 5000 typ relay raddr ::ffff:10.0.0.1 rport 7", "candidate:1 1 udp 1694498815 192.0.2.9 5000 typ relay raddr 10.0.0.1 rport 7", ""},
		{"1 1 udp 2130706431 ::ffff:192.0.2.1 5000 typ host", "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host", ""},
		// What it lets through and no candidate can be.
		{" 1 udp 2130706431 192.0.2.1 5000 typ host", "", "foundation"},
		{"a,b 1 udp 2130706431 192.0.2.1 5000 typ host", "", "foundation"},
		{"1 0 udp 2130706431 192.0.2.1 5000 typ host", "", "component"},
		{"1 60000 udp 2130706431 192.0.2.1 5000 typ host", "", "component"},
		{"1 1 udp 4294967295 192.0.2.1 5000 typ host", "", "priority"},
		{"1 1 udp 2130706431 a..local 5000 typ host", "", "address"},
	}
	for _, tt := range tests {
		p, err := pion.UnmarshalCandidate(tt.text)
		if err != nil {
			t.Fatalf("%q: pion: %v", tt.text, err)
		}
		c, err := FromPion(p)
		switch {
		case tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)):
			t.Errorf("%q: %v, error %v; want one that says %q", tt.text, c, err, tt.fails)
		case tt.fails == "" && (err != nil || c.String() != tt.want):
			t.Errorf("%q: %v, error %v; want %s", tt.text, c, err, tt.want)
		}
	}
}

// Whatever pion parses is converted for good or refused.
func FuzzFromPion(f *testing.F) {
	for _, text := range []string{
		"candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0",
		" 1 tcp 1671430143 ::ffff:192.0.2.1 9 typ host tcptype active",
		"1 1 udp 1694498815 2001:db8::9%eth0 5000 typ srflx raddr :: rport 9",
		"1 1 tcp 2130706431 0b8f2a3c.local 65535 typ host tcptype so",
		"1 0 udp 4294967295 192.0.2.9 0 typ relay raddr abc.local rport 0",
		"1 256 udp 1 192.0.2.9 1 typ prflx raddr 0.0.0.0 rport 9",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := pion.UnmarshalCandidate(text)
		if err != nil {
			return
		}
		c, err := FromPion(p)
		if err != nil {
			var theirs *ConvertError
			var ours *ice.CandidateError
			if !errors.As(err, &theirs) && !errors.As(err, &ours) {
				t.Errorf("%q: the error is a %T", text, err)
			}
			return
		}
		again, err := ToPion(c)
		if err != nil {
			t.Fatalf("%q: %v: there: %v", text, c, err)
		}
		if back, err := FromPion(again); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%q: %v came back as %v, error %v", text, c, back, err)
		}
	})
}

// stranger is a candidate of a type that pion does not have.
type stranger struct{ pion.Candidate }

func TestFromPionRefuses(t *testing.T) {
	host := func(port int, name string) pion.Candidate {
		c, err := pion.NewCandidateHost(&pion.CandidateHostConfig{Network: "udp", Address: name, Port: port, Component: 1, Priority: 1, Foundation: "1"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	relay, err := pion.NewCandidateRelay(&pion.CandidateRelayConfig{Network: "udp", Address: "192.0.2.1", Port: 1, Component: 1, Priority: 1, Foundation: "1",
		RelAddr: "192.0.2.2", RelPort: 65536})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		c    pion.Candidate
		says string
	}{
		{"nil", nil, "nil"},
		{"a nil host candidate", (*pion.CandidateHost)(nil), "nil"},
		{"a nil reflexive candidate", (*pion.CandidateServerReflexive)(nil), "nil"},
		{"a nil peer-reflexive candidate", (*pion.CandidatePeerReflexive)(nil), "nil"},
		{"a nil relayed candidate", (*pion.CandidateRelay)(nil), "nil"},
		{"zero", new(pion.CandidateHost), "constructors"},
		{"another type", stranger{host(1, "192.0.2.1")}, "stranger"},
		{"an empty candidate of another type", stranger{}, "stranger"},
		{"a port too great", host(65536, "192.0.2.1"), "port 65536"},
		{"a port too small", host(-1, "192.0.2.1"), "port -1"},
		{"a related port too great", relay, "related port 65536"},
		{"a name that is none", host(1, "no name.local"), "address"},
	}
	for _, tt := range tests {
		c, err := FromPion(tt.c)
		if !reflect.DeepEqual(c, ice.Candidate{}) || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, error %v; want a zero candidate and an error that says %q", tt.name, c, err, tt.says)
		}
	}
}

func TestSidesCountAlike(t *testing.T) {
	for side := ice.NotTCP; side <= ice.SimultaneousOpen; side++ {
		if got := pion.TCPType(side).String(); got != side.String() {
			t.Errorf("%d is %q with pion, %q here", side, got, side)
		}
	}
}
