package interop_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	pion "github.com/pion/ice/v2"

	"github.com/bradawl/bradawl/ice"
)

// Where our codec and that of pion/ice v2 both read a candidate, they must read the same,
// but for what pion loses or takes by its place (v2.3.38):
//
//   - "candidate:" is taken for a part of the foundation, so pion is given the text
//     without it;
//   - unknown extensions are dropped;
//   - raddr is seen only directly behind the type, and the third field behind it is the
//     port, whatever its name; neither is checked. A name there, and the zeros that hide
//     an address, are no related address to us;
//   - tcptype is seen only directly behind the type, and only of host candidates; a
//     missing one is none to pion and passive to us; a UDP candidate may have one;
//   - a candidate with an mDNS name is UDP over IPv4 until it is resolved.
//
// What only one of the two reads is in candidatesOfOne.

// bothRead compares what the two make of text, and reports whether both read it.
func bothRead(t *testing.T, text string) bool {
	t.Helper()
	ours, err := ice.ParseCandidate(text)
	if err != nil {
		return false
	}
	theirs, err := pion.UnmarshalCandidate(strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(text, " "), "a="), "candidate:"))
	if err != nil {
		return false
	}
	wrong := func(what string, our, their any) {
		t.Errorf("%q: %s is %v to us, %v to pion", text, what, our, their)
	}
	if theirs.Foundation() != ours.Foundation {
		wrong("foundation", ours.Foundation, theirs.Foundation())
	}
	if theirs.Component() != ours.Component {
		wrong("component", ours.Component, theirs.Component())
	}
	if theirs.Priority() != ours.Priority {
		wrong("priority", ours.Priority, theirs.Priority())
	}
	if theirs.Port() != int(ours.Addr.Port()) {
		wrong("port", ours.Addr.Port(), theirs.Port())
	}
	if theirs.Type().String() != ours.Type.String() {
		wrong("type", ours.Type, theirs.Type())
	}
	if ours.Name != "" {
		if theirs.Address() != ours.Name {
			wrong("name", ours.Name, theirs.Address())
		}
	} else {
		if ip, err := netip.ParseAddr(theirs.Address()); err != nil || ip.Unmap() != ours.Addr.Addr() {
			wrong("address", ours.Addr.Addr(), theirs.Address())
		}
		if theirs.NetworkType().NetworkShort() != ours.Transport.String() {
			wrong("transport", ours.Transport, theirs.NetworkType())
		}
	}
	fields := strings.Fields(text[strings.Index(strings.ToLower(text), " typ ")+len(" typ "):])
	if r := theirs.RelatedAddress(); r != nil && r.Address != "" && ours.Related.IsValid() {
		if ip, err := netip.ParseAddr(r.Address); err != nil || ip.Unmap() != ours.Related.Addr() {
			wrong("related address", ours.Related, r)
		}
		if strings.EqualFold(fields[3], "rport") && r.Port != int(ours.Related.Port()) {
			wrong("related port", ours.Related, r)
		}
	}
	if side := theirs.TCPType(); side != pion.TCPTypeUnspecified {
		if ours.Transport == ice.TCP && side.String() != ours.TCPType.String() {
			wrong("tcptype", ours.TCPType, side)
		}
		if kept, _ := ours.Extension("tcptype"); ours.Transport == ice.UDP && !strings.EqualFold(kept, side.String()) {
			wrong("tcptype", kept, side)
		}
	}
	return true
}

func TestCandidatesReadLikePion(t *testing.T) {
	const seed, runs = 1, 50000
	r := rand.New(rand.NewPCG(seed, 0))
	both := 0
	for range runs {
		if bothRead(t, randomText(r)) {
			both++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d of %d texts were read by both", both, runs)
	if both < runs/5 {
		t.Errorf("only %d of %d texts were read by both, which proves little", both, runs)
	}
}

// randomText puts a candidate together out of parts of which few are bad.
func randomText(r *rand.Rand) string {
	pick := func(parts ...string) string { return parts[r.IntN(len(parts))] }
	// few picks a usual part, one time in twenty another.
	few := func(usual []string, unusual ...string) string {
		if r.IntN(20) == 0 {
			return pick(unusual...)
		}
		return pick(usual...)
	}
	text := pick("", "candidate:", "a=candidate:") +
		few([]string{"1", "842163049", "Ab/+9"}, "", "x-y", strings.Repeat("7", 33)) + few([]string{" "}, "  ", "\t") +
		few([]string{"1", "2", "256"}, "0", "257", "01", "+1", "") + " " +
		few([]string{"udp", "UDP", "tcp", "Tcp"}, "udp4", "sctp", "tls") + " " +
		few([]string{"1", "2130706431", "2147483647"}, "0", "2147483648", "4294967296", "x") + " " +
		few([]string{"192.0.2.1", "2001:db8::1", "2001:DB8:0::2", "::ffff:192.0.2.7", "a-b.local"}, "fe80::1%eth0", "sfu.example.com", "127.1", "localhost", "[::1]") + " " +
		few([]string{"9", "5000", "65535", "0"}, "65536", "-1", "") + " " +
		few([]string{"typ"}, "TYP", "type") + " " +
		few([]string{"host", "srflx", "prflx", "relay"}, "HOST", "token")
	for range r.IntN(4) {
		text += few([]string{" "}, "  ") + pick(
			"raddr 10.0.0.1 rport 5001", "raddr 0.0.0.0 rport 9", "raddr :: rport 0", "raddr x.local rport 7", "raddr 10.0.0.1", "raddr 10.0.0.1 x 5",
			"rport 5", "tcptype active", "tcptype passive", "tcptype SO", "tcptype what", "generation 0", "ufrag abcd", "empty ", "network-cost 999", "last")
	}
	return text + few([]string{""}, "\r\n", " ", "\n\n")
}

// candidatesOfOne are candidates that only one of the two reads.
var candidatesOfOne = []struct {
	what, text   string
	ours, theirs bool
}{
	{"a domain name", "1 1 udp 1 sfu.example.com 5000 typ host", true, false},
	{"an mDNS name that is not the host's", "1 1 udp 1 a.local 5000 typ srflx raddr 0.0.0.0 rport 9", true, false},
	{"the type in upper case", "1 1 udp 1 192.0.2.1 5000 typ HOST", true, false},
	{"raddr without rport", "1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1", true, false},
	{"no foundation", " 1 udp 1 192.0.2.1 5000 typ host", false, true},
	{"a foundation of other characters", "a-b 1 udp 1 192.0.2.1 5000 typ host", false, true},
	{"a foundation of 33 characters", strings.Repeat("7", 33) + " 1 udp 1 192.0.2.1 5000 typ host", false, true},
	{"component 0", "1 0 udp 1 192.0.2.1 5000 typ host", false, true},
	{"component 257", "1 257 udp 1 192.0.2.1 5000 typ host", false, true},
	{"a transport that starts with udp", "1 1 udp4 1 192.0.2.1 5000 typ host", false, true},
	{"priority 0", "1 1 udp 0 192.0.2.1 5000 typ host", false, true},
	{"priority 2^31", "1 1 udp 2147483648 192.0.2.1 5000 typ host", false, true},
	{"a zone", "1 1 udp 1 fe80::1%eth0 5000 typ host", false, true},
	{"a name of one label", "1 1 udp 1 .local 5000 typ host", false, true},
	{`no "typ"`, "1 1 udp 1 192.0.2.1 5000 what host", false, true},
	{"tabs between fields", "1 1 udp 1 192.0.2.1 5000 typ host\tgeneration 0", false, true},
	{"an unknown side", "1 1 tcp 1 192.0.2.1 5000 typ host tcptype both", false, true},
	{"a related address that is none", "1 1 udp 1 192.0.2.1 5000 typ srflx raddr nowhere rport 5", false, true},
	{"raddr twice", "1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 5 raddr 10.0.0.1", false, true},
	{"rport alone", "1 1 udp 1 192.0.2.1 5000 typ srflx rport 5", false, true},
	{"an extension that is too long", "1 1 udp 1 192.0.2.1 5000 typ host x " + strings.Repeat("y", ice.MaxCandidateText), false, true},
	{"too many extensions", "1 1 udp 1 192.0.2.1 5000 typ host" + strings.Repeat(" x y", ice.MaxExtensions+1), false, true},
}

func TestCandidatesThatOneReads(t *testing.T) {
	for _, c := range candidatesOfOne {
		if _, err := ice.ParseCandidate(c.text); (err == nil) != c.ours {
			t.Errorf("%s: %q: we say %v", c.what, c.text, err)
		}
		if _, err := pion.UnmarshalCandidate(c.text); (err == nil) != c.theirs {
			t.Errorf("%s: %q: pion says %v", c.what, c.text, err)
		}
	}
}

// What each writes the other reads.
func TestCandidatesOfPionAreRead(t *testing.T) {
	for _, text := range []string{
		"1 1 udp 2130706431 192.0.2.1 5000 typ host",
		"1 1 udp 1694498815 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport 5001",
		"1 1 udp 1862270975 2001:db8::1 5000 typ prflx raddr fe80::1 rport 5001",
		"1 1 udp 16777215 192.0.2.1 5000 typ relay raddr 10.0.0.1 rport 5001",
		"1 1 tcp 1671430143 192.0.2.1 9 typ host tcptype active",
		"1 1 udp 2130706431 3d5a9b3e-6a37-4a53-9e2b-1f0b5a1c2d3e.local 5000 typ host",
	} {
		theirs, err := pion.UnmarshalCandidate(text)
		if err != nil {
			t.Fatal(err)
		}
		if !bothRead(t, theirs.Marshal()) {
			t.Errorf("%q, as pion writes it, is not read by both", theirs.Marshal())
		}
		ours, err := ice.ParseCandidate(text)
		if err != nil {
			t.Fatal(err)
		}
		if !bothRead(t, ours.String()) {
			t.Errorf("%q, as we write it, is not read by both", ours)
		}
	}
}

func FuzzCandidatesReadLikePion(f *testing.F) {
	r := rand.New(rand.NewPCG(2, 0))
	for range 50 {
		f.Add(randomText(r))
	}
	f.Fuzz(func(t *testing.T, text string) { bothRead(t, text) })
}
