package simnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// lab looks at a NAT from outside, as a tester would: by what two servers with two
// ports each see, and by what comes back.
type lab struct {
	t       *testing.T
	w       *World
	site    *Site
	servers [2][2]*socket  // by address, by port
	seen    netip.AddrPort // the source of the last datagram that any server got
	got     []string       // what arrived inside
}

func newLab(t *testing.T, p Preset, seed uint64) *lab {
	l := &lab{t: t, w: New(seed)}
	site, err := l.w.AddSiteOf("tester", p, Link{Delay: 10 * time.Millisecond})
	if err != nil {
		t.Fatalf("preset %s: %v", p.Name, err)
	}
	l.site = site
	for i := range l.servers {
		h := l.w.AddHost(fmt.Sprint("server", i), l.w.Internet(), Link{Delay: 10 * time.Millisecond})
		for j := range l.servers[i] {
			s, err := h.bind(netip.AddrPortFrom(h.Addr(), uint16(3478+j)))
			if err != nil {
				t.Fatal(err)
			}
			s.receive = func(p *Packet) { l.seen = p.Src }
			l.servers[i][j] = s
		}
	}
	return l
}

// socket opens a port inside.
func (l *lab) socket(port uint16) *socket {
	s, err := l.site.bind(netip.AddrPortFrom(l.site.Addr(), port))
	if err != nil {
		l.t.Fatal(err)
	}
	s.receive = func(p *Packet) { l.got = append(l.got, string(p.Data)) }
	return s
}

// ask sends from s to a server and returns whom the server sees; the zero value: nobody.
func (l *lab) ask(s *socket, addr, port int) netip.AddrPort {
	l.seen = netip.AddrPort{}
	l.say(s, l.servers[addr][port].local, "?")
	return l.seen
}

func (l *lab) say(s *socket, to netip.AddrPort, what string) {
	if err := s.send(to, []byte(what), 0, false); err != nil {
		l.t.Fatal(err)
	}
	l.w.Run(100 * time.Millisecond)
}

// arrives sends to an outside endpoint and tells whether that comes in.
func (l *lab) arrives(from *socket, to netip.AddrPort) bool {
	l.got = nil
	l.say(from, to, "!")
	return len(l.got) > 0
}

func (l *lab) mapping() string {
	s := l.socket(40000)
	a, b, c := l.ask(s, 0, 0), l.ask(s, 0, 1), l.ask(s, 1, 0)
	switch {
	case !a.IsValid():
		return "blocked"
	case a == s.local:
		return "none"
	case a == b && b == c:
		return "EI"
	case a == b:
		return "AD"
	case a != b && b != c && a != c:
		return "APD"
	}
	return fmt.Sprint("inconsistent: ", a, b, c)
}

func (l *lab) filtering() string {
	s := l.socket(40002)
	seen := l.ask(s, 0, 0)
	switch {
	case !seen.IsValid():
		return "blocked"
	case !l.arrives(l.servers[0][0], seen):
		return "even answers are lost"
	case l.arrives(l.servers[1][1], seen):
		return "EI"
	case l.arrives(l.servers[0][1], seen):
		return "AD"
	}
	return "APD"
}

// allocation opens mappings from fresh sockets and looks at the ports.
func (l *lab) allocation() string {
	var inside, outside []int
	for i := range 8 {
		s := l.socket(uint16(41000 + 7*i))
		seen := l.ask(s, 0, 0)
		if !seen.IsValid() {
			return "blocked"
		}
		inside, outside = append(inside, 41000+7*i), append(outside, int(seen.Port()))
	}
	same, step, low, high := true, outside[1]-outside[0], 65536, 0
	for i := range outside {
		same = same && inside[i] == outside[i]
		if i > 0 && outside[i]-outside[i-1] != step {
			step = 0
		}
		low, high = min(low, outside[i]), max(high, outside[i])
	}
	switch {
	case same:
		return "preserve"
	case step != 0:
		return fmt.Sprintf("sequential %+d", step)
	case high-low < 4096:
		return "block"
	}
	return "random"
}

func (l *lab) hairpin() string {
	a, b := l.socket(42000), l.socket(42002)
	seenA, seenB := l.ask(a, 0, 0), l.ask(b, 0, 0)
	if !seenA.IsValid() {
		return "blocked"
	}
	if seenA == a.local {
		return "-"
	}
	l.say(a, seenB, "!") // so that b's filter, if any, would let a's answer pass
	if l.arrives(b, seenA) {
		return "yes"
	}
	return "no"
}

// lifetime finds by halving how long a mapping, used once each way, lets answers in.
func (l *lab) lifetime() time.Duration {
	low, high := time.Duration(0), 20*time.Minute
	for port := uint16(43000); high-low > time.Second; port += 2 {
		mid := (low + high) / 2
		s := l.socket(port)
		seen := l.ask(s, 0, 0)
		if !seen.IsValid() || !l.arrives(l.servers[0][0], seen) {
			return 0
		}
		l.w.Run(mid)
		if l.arrives(l.servers[0][0], seen) {
			low = mid
		} else {
			high = mid
		}
	}
	return high.Round(5 * time.Second)
}

// What each preset must look like from outside. The words are what the presets'
// names mean in RFC 3489 and RFC 4787, not what their configurations say.
var looks = []struct{ name, mapping, filtering, allocation, hairpin, lifetime string }{
	{"open", "none", "EI", "preserve", "-", "20m0s"},
	{"firewall", "none", "APD", "preserve", "-", "2m0s"},
	{"full-cone", "EI", "EI", "random", "yes", "2m0s"},
	{"restricted-cone", "EI", "AD", "random", "yes", "2m0s"},
	{"port-restricted-cone", "EI", "APD", "preserve", "no", "2m0s"},
	{"symmetric-random", "APD", "APD", "random", "no", "2m0s"},
	{"symmetric-sequential", "APD", "APD", "sequential +1", "no", "2m0s"},
	{"symmetric-address", "AD", "APD", "random", "no", "2m0s"},
	{"udp-blocked", "blocked", "blocked", "blocked", "blocked", "0s"},
}

func TestPresetsLookRightFromOutside(t *testing.T) {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "preset\tmapping\tfiltering\tallocation\thairpin\tlifetime")
	tested := map[string]bool{}
	for _, want := range looks {
		tested[want.name] = true
		p, err := PresetByName(want.name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			got := want
			got.mapping = newLab(t, p, seed).mapping()
			got.filtering = newLab(t, p, seed).filtering()
			got.allocation = newLab(t, p, seed).allocation()
			got.hairpin = newLab(t, p, seed).hairpin()
			got.lifetime = newLab(t, p, seed).lifetime().String()
			if got != want {
				t.Errorf("seed %d:\n got %+v\nwant %+v", seed, got, want)
			}
			if seed == 0 {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", got.name, got.mapping, got.filtering, got.allocation, got.hairpin, got.lifetime)
			}
		}
	}
	for _, name := range PresetNames() {
		if !tested[name] {
			t.Errorf("preset %s is not in the table", name)
		}
	}
	tw.Flush()
	t.Logf("\n%s", table.String())
}

func TestUnknownPresetNamesTheKnownOnes(t *testing.T) {
	_, err := PresetByName("conical")
	if err == nil || !strings.Contains(err.Error(), `"conical"`) || !strings.Contains(err.Error(), "full-cone") {
		t.Fatalf("error %q", err)
	}
}
