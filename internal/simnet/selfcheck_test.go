package simnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

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
	const n = 16
	var inside, outside [n]int
	for i := range n {
		inside[i] = 41000 + 7*i
		seen := l.ask(l.socket(uint16(inside[i])), 0, 0)
		if !seen.IsValid() {
			return "blocked"
		}
		outside[i] = int(seen.Port())
	}
	same, parity, step, low, high := true, true, outside[1]-outside[0], 65536, 0
	for i := range n {
		same = same && inside[i] == outside[i]
		parity = parity && inside[i]%2 == outside[i]%2
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
	case high-low < 512:
		return "block of 512"
	case high-low < 2048:
		return "block of 2048"
	case parity && l.pairs():
		return "random in pairs"
	}
	return "random"
}

// pairs tells whether two neighbouring ports stay neighbours.
func (l *lab) pairs() bool {
	for port := uint16(45000); port < 45008; port += 2 {
		a, b := l.ask(l.socket(port), 0, 0), l.ask(l.socket(port+1), 0, 0)
		if b.Port() != a.Port()+1 {
			return false
		}
	}
	return true
}

// collision lets a second host use the same inside port, and looks whether the two
// ever share an outside port.
func (l *lab) collision() string {
	other := l.w.AddHost("other", l.site.LAN(), Link{})
	a, b := l.socket(46000), l.socketOf(other, 46000)
	first, second := l.ask(a, 0, 0), l.ask(b, 0, 0)
	switch {
	case !first.IsValid():
		return "blocked"
	case first == a.local:
		return "-"
	case first == second:
		return "broken"
	case l.ask(b, 1, 1) == first:
		return "shared"
	}
	return "own"
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

// lifetime finds by halving, up to most, how long after use what try looks at lives.
// use and try get a port that was not used before.
func (l *lab) lifetime(most time.Duration, use func(port uint16) bool, try func(port uint16) bool) string {
	low, high := time.Duration(0), most
	for port := uint16(43000); high-low > time.Second; port += 2 {
		mid := (low + high) / 2
		if !use(port) {
			return "blocked"
		}
		l.w.Run(mid)
		if try(port) {
			low = mid
		} else {
			high = mid
		}
	}
	if most-high < time.Second {
		return "-"
	}
	return brief(high.Round(5 * time.Second))
}

// brief leaves out what is zero.
func brief(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// udpLifetimes are those of a question, of a question and its answer, and of a stream.
func (l *lab) udpLifetimes() string {
	server := l.servers[0][0]
	var s *socket
	var all []string
	for _, kind := range []string{"question", "answer", "stream"} {
		l = newLab(l.t, Preset{NATs: l.configs(), IPv6: l.site.Firewall6 != nil}, l.w.seed)
		server = l.servers[0][0]
		all = append(all, l.lifetime(20*time.Minute, func(port uint16) bool {
			s = l.socket(port)
			if !l.ask(s, 0, 0).IsValid() {
				return false
			}
			if kind != "question" {
				l.arrives(server, l.seen)
			}
			if kind == "stream" {
				l.w.Run(3 * time.Second)
				l.ask(s, 0, 0)
			}
			return true
		}, func(uint16) bool { return l.arrives(server, l.seen) }))
	}
	if all[0] == all[1] && all[1] == all[2] {
		return all[0]
	}
	return strings.Join(all, "/")
}

func (l *lab) configs() (all []NATConfig) {
	for _, n := range l.site.NATs {
		all = append(all, n.table.NATConfig)
	}
	return all
}

func (l *lab) tcpMapping() string {
	a, b, c := l.segment(40000, 0, port0, SYN), l.segment(40000, 0, port1, SYN), l.segment(40000, 1, port0, SYN)
	switch {
	case !a.IsValid():
		return "blocked"
	case !b.IsValid() && a == c:
		return "EI to 443"
	case a == l.inside.at(40000):
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

func (l *lab) tcpFiltering() string {
	seen, ok := l.connect(40000)
	switch {
	case !ok:
		return "no connection"
	case l.enters(1, port0, seen, SYN):
		return "EI"
	case l.enters(0, port1, seen, SYN):
		return "AD"
	}
	return "APD"
}

// straySYN knocks where no port is open.
func (l *lab) straySYN() string {
	seen := l.segment(40000, 0, port0, SYN)
	if seen == l.inside.at(40000) && l.enters(1, port0, seen, SYN) {
		return "-" // nothing in between
	}
	in := l.enters(1, port0, netip.AddrPortFrom(seen.Addr(), seen.Port()^1), SYN)
	p := l.outside[1].last()
	switch {
	case in:
		return "enters"
	case p == nil:
		return "silence"
	case p.Proto == TCP && p.Segment.Flags == RST|ACK && p.Segment.Ack == 8:
		return "reset"
	case p.Error != nil:
		return p.Error.Kind.String()
	}
	return fmt.Sprint("unexpected: ", p.Segment)
}

func (l *lab) simultaneousOpen() string {
	seen := l.segment(40000, 0, port0, SYN)
	if !l.enters(0, port0, seen, SYN) {
		return "no"
	}
	if l.segment(40000, 0, port0, SYN|ACK) != seen || !l.enters(0, port0, seen, SYN|ACK) {
		return "half"
	}
	return "yes"
}

// tcpLifetimes are those of a SYN and of a connection.
func (l *lab) tcpLifetimes() string {
	half := l.lifetime(10*time.Minute,
		func(port uint16) bool { l.seen = l.segment(port, 0, port0, SYN); return l.seen.IsValid() },
		func(port uint16) bool { return l.enters(0, port0, l.seen, SYN|ACK) })
	l = newLab(l.t, Preset{NATs: l.configs(), IPv6: l.site.Firewall6 != nil}, l.w.seed)
	whole := l.lifetime(10*24*time.Hour,
		func(port uint16) bool { seen, ok := l.connect(port); l.seen = seen; return ok },
		func(port uint16) bool { return l.enters(0, port0, l.seen, ACK) })
	return half + "/" + whole
}

// look is what a preset looks like from outside.
type look struct {
	name                                                   string
	mapping, filtering, allocation, collision, hairpin     string
	udp                                                    string // lifetimes: question, answer, stream; one if they are alike
	tcpMapping, tcpFiltering, straySYN, simultaneous, tcps string // the last: lifetimes of a SYN and of a connection
}

// What each preset must look like. The words are what the presets' names mean in RFC
// 3489, 4787 and 5382 and in Linux's documentation, not what their configurations say.
var looks = []look{
	{"open", "none", "EI", "preserve", "-", "-", "-", "none", "EI", "-", "yes", "-/-"},
	{"firewall", "none", "APD", "preserve", "-", "-", "2m", "none", "APD", "silence", "yes", "4m/2h4m"},
	{"full-cone", "EI", "EI", "random", "own", "yes", "2m", "EI", "EI", "silence", "yes", "4m/2h4m"},
	{"restricted-cone", "EI", "AD", "random", "own", "yes", "2m", "EI", "AD", "silence", "yes", "4m/2h4m"},
	{"port-restricted-cone", "EI", "APD", "preserve", "own", "no", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"hairpin", "EI", "APD", "preserve", "own", "yes", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"parity-cone", "EI", "APD", "random in pairs", "own", "no", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-random", "APD", "APD", "random", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-sequential", "APD", "APD", "sequential +1", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-sequential-2", "APD", "APD", "sequential +2", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-sequential-3", "APD", "APD", "sequential +3", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-descending", "APD", "APD", "sequential -1", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-address", "AD", "APD", "random", "own", "no", "2m", "AD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-block", "APD", "APD", "block of 512", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"symmetric-preserving", "EI", "APD", "preserve", "shared", "no", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"linux", "EI", "APD", "preserve", "shared", "no", "30s/30s/2m", "EI", "APD", "reset", "yes", "2m/120h"},
	{"tcp-hostile", "EI", "APD", "preserve", "own", "no", "2m", "APD", "APD", "reset", "no", "4m/2h4m"},
	{"cgnat", "EI", "APD", "block of 2048", "own", "yes", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"cgnat-symmetric", "APD", "APD", "block of 2048", "own", "no", "2m", "APD", "APD", "silence", "yes", "4m/2h4m"},
	{"dual-stack", "EI", "APD", "preserve", "own", "no", "2m", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"udp-blocked", "blocked", "blocked", "blocked", "blocked", "blocked", "blocked", "EI", "APD", "silence", "yes", "4m/2h4m"},
	{"only-443", "blocked", "blocked", "blocked", "blocked", "blocked", "blocked", "EI to 443", "APD", "silence", "yes", "4m/2h4m"},
}

func TestPresetsLookRightFromOutside(t *testing.T) {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "preset\tmapping\tfiltering\tallocation\tcollision\thairpin\tlifetime\tTCP: mapping\tfiltering\tstray SYN\tsimultaneous open\tlifetimes")
	tested := map[string]bool{}
	for _, want := range looks {
		tested[want.name] = true
		p, err := PresetByName(want.name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			fresh := func() *lab { return newLab(t, p, seed) }
			got := look{
				want.name, fresh().mapping(), fresh().filtering(), fresh().allocation(), fresh().collision(), fresh().hairpin(),
				fresh().udpLifetimes(), fresh().tcpMapping(), fresh().tcpFiltering(), fresh().straySYN(), fresh().simultaneousOpen(), fresh().tcpLifetimes(),
			}
			if got != want {
				t.Errorf("seed %d:\n got %+v\nwant %+v", seed, got, want)
			}
			if seed == 0 {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", got.name, got.mapping, got.filtering, got.allocation,
					got.collision, got.hairpin, got.udp, got.tcpMapping, got.tcpFiltering, got.straySYN, got.simultaneous, got.tcps)
			}
		}
	}
	for _, name := range PresetNames() {
		if !tested[name] {
			t.Errorf("preset %s is not in the table", name)
		}
	}
	tw.Flush()
	t.Logf("lifetimes: of a question, an answer, a stream where they differ; of a SYN and a connection\n%s", table.String())
}

func TestUnknownPresetNamesTheKnownOnes(t *testing.T) {
	_, err := PresetByName("conical")
	if err == nil || !strings.Contains(err.Error(), `"conical"`) || !strings.Contains(err.Error(), "full-cone") {
		t.Fatalf("error %q", err)
	}
}
