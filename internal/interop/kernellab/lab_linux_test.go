package kernellab_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/netio"
)

var (
	public  = netip.MustParseAddr("198.51.100.1")
	private = netip.MustParseAddr("192.168.1.2")
	serverA = netip.MustParseAddr("203.0.113.1")
	serverB = netip.MustParseAddr("192.0.2.1")
)

// socket is one end of the conversations below.
type socket struct {
	*net.UDPConn
	t *testing.T
}

func listen(t *testing.T, n *kernellab.Namespace, addr netip.Addr, port uint16) socket {
	return socket{n.ListenUDP(netip.AddrPortFrom(addr, port).String()), t}
}

func (s socket) addr() netip.AddrPort { return netio.AddrPortOf(s.LocalAddr()) }

func (s socket) send(to netip.AddrPort, text string) {
	s.t.Helper()
	if _, err := s.WriteToUDPAddrPort([]byte(text), to); err != nil {
		s.t.Fatal(err)
	}
}

// expect reads text and returns its sender.
func (s socket) expect(text string) netip.AddrPort {
	s.t.Helper()
	s.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	n, from, err := s.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != text {
		s.t.Fatalf("%v: read %q from %v, %v, want %q", s.addr(), buf[:n], from, err, text)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// home is a host behind a router, and two servers outside.
func home(t *testing.T, c kernellab.NATConfig) (lab *kernellab.Lab, host, a, b *kernellab.Namespace) {
	lab = kernellab.New(t)
	c.Name, c.Public = "nat", public
	host = lab.NAT(c).Host("host", private)
	return lab, host, lab.Public("a", serverA), lab.Public("b", serverB)
}

func TestMasqueradeKeepsThePort(t *testing.T) {
	_, host, nsA, nsB := home(t, kernellab.NATConfig{})
	h, a, b := listen(t, host, private, 5000), listen(t, nsA, serverA, 3478), listen(t, nsB, serverB, 3478)
	stranger := listen(t, nsA, serverA, 3479)

	want := netip.AddrPortFrom(public, 5000)
	for _, s := range []socket{a, b} {
		h.send(s.addr(), "hello")
		if got := s.expect("hello"); got != want {
			t.Errorf("%v saw %v, want %v", s.addr(), got, want)
		}
	}
	// Filtering by address and port: a stranger's datagram, sent first over the same wire, must not come in.
	stranger.send(want, "let me in")
	a.send(want, "answer")
	if got := h.expect("answer"); got != a.addr() {
		t.Errorf("answer came from %v, want %v", got, a.addr())
	}
	b.send(want, "answer")
	h.expect("answer")
}

// What arrives early must neither come in nor cost the host its port.
func TestEarlyDatagramDoesNotTakeThePort(t *testing.T) {
	_, host, nsA, _ := home(t, kernellab.NATConfig{})
	h, a := listen(t, host, private, 5000), listen(t, nsA, serverA, 3478)
	mapped := netip.AddrPortFrom(public, 5000)
	a.send(mapped, "early")
	h.send(a.addr(), "hello")
	if got := a.expect("hello"); got != mapped {
		t.Errorf("seen as %v, want %v", got, mapped)
	}
	a.send(mapped, "answer")
	h.expect("answer")
}

func TestFullyRandomDiffersPerDestination(t *testing.T) {
	_, host, nsA, _ := home(t, kernellab.NATConfig{FullyRandom: true})
	h := listen(t, host, private, 5000)
	seen := make(map[uint16]bool)
	const n = 8
	for port := range uint16(n) {
		a := listen(t, nsA, serverA, 3478+port)
		h.send(a.addr(), "hello")
		got := a.expect("hello")
		if got.Addr() != public {
			t.Errorf("seen as %v, want address %v", got, public)
		}
		seen[got.Port()] = true
	}
	// Two equal ones of 8 in 64,000 happen once in 2,000 runs; four, never.
	if len(seen) < n-2 {
		t.Errorf("%d destinations saw ports %v, want them all different", n, seen)
	}
}

// A host that gets what nobody asked for hears strangers on the port that it
// sends from, and goes on to be seen at that port.
func TestForwardTo(t *testing.T) {
	for _, c := range []struct {
		knownOnly bool
		want      []string
	}{
		{false, []string{"from elsewhere", "from another port", "answer"}},
		{true, []string{"from another port", "answer"}},
	} {
		_, host, nsA, nsB := home(t, kernellab.NATConfig{ForwardTo: private, KnownOnly: c.knownOnly})
		h, a, b := listen(t, host, private, 5000), listen(t, nsA, serverA, 3478), listen(t, nsB, serverB, 3478)
		other := listen(t, nsA, serverA, 3479)
		mapped := netip.AddrPortFrom(public, 5000)

		listen(t, host, private, 5001).send(b.addr(), "another socket, which opens nothing for the first")
		b.expect("another socket, which opens nothing for the first")
		h.send(a.addr(), "hello")
		a.expect("hello")
		b.send(mapped, "from elsewhere")
		other.send(mapped, "from another port")
		a.send(mapped, "answer")
		for _, text := range c.want {
			h.expect(text)
		}
		h.send(b.addr(), "hello")
		if got := b.expect("hello"); got != mapped {
			t.Errorf("known only %v: seen as %v, want %v", c.knownOnly, got, mapped)
		}
	}
}

func TestPorts(t *testing.T) {
	for _, random := range []bool{false, true} {
		_, host, nsA, nsB := home(t, kernellab.NATConfig{Ports: [2]uint16{40000, 40511}, FullyRandom: random})
		h, a, b := listen(t, host, private, 5000), listen(t, nsA, serverA, 3478), listen(t, nsB, serverB, 3478)
		for _, s := range []socket{a, b} {
			h.send(s.addr(), "hello")
			got := s.expect("hello")
			if got.Addr() != public || got.Port() < 40000 || got.Port() > 40511 {
				t.Errorf("random %v: seen as %v, want %v with a port from 40000 to 40511", random, got, public)
			}
			s.send(got, "answer")
			h.expect("answer")
		}
	}
}

func TestFirewalled(t *testing.T) {
	lab := kernellab.New(t)
	h := listen(t, lab.Firewalled("host", public), public, 5000)
	nsA := lab.Public("a", serverA)
	a, stranger := listen(t, nsA, serverA, 3478), listen(t, nsA, serverA, 3479)
	h.send(a.addr(), "hello")
	if got := a.expect("hello"); got != h.addr() {
		t.Errorf("seen as %v, want %v", got, h.addr())
	}
	stranger.send(h.addr(), "let me in")
	a.send(h.addr(), "answer")
	h.expect("answer")
}

// What is cut off from each other still reaches others, and each other once that is mended.
func TestCut(t *testing.T) {
	lab := kernellab.New(t)
	h, a := listen(t, lab.Public("host", public), public, 5000), listen(t, lab.Public("a", serverA), serverA, 3478)
	b := listen(t, lab.Public("b", serverB), serverB, 3478)
	mend := lab.Cut(public, serverA)
	h.send(a.addr(), "lost")
	a.send(h.addr(), "lost")
	b.send(h.addr(), "not cut off")
	h.expect("not cut off")
	mend()
	h.send(a.addr(), "there")
	a.expect("there")
	a.send(h.addr(), "back")
	h.expect("back")
}

// The routers tell of datagrams that ran out of hops, and netio passes it on.
func TestHopLimitExceeded(t *testing.T) {
	_, host, _, _ := home(t, kernellab.NATConfig{})
	c, err := netio.Wrap(host.ListenUDP(netip.AddrPortFrom(private, 5000).String()))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	remote := netip.AddrPortFrom(serverA, 3478)
	for ttl, from := range map[int]string{1: "192.168.1.1", 2: "203.0.113.254"} {
		if _, err := c.WriteOpts([]byte("probe"), remote, netio.SendOptions{TTL: ttl}); err != nil {
			t.Fatal(err)
		}
		_, _, err = c.ReadMeta(make([]byte, 100))
		var u *netio.UnreachableError
		if !errors.As(err, &u) || u.Reason != machine.TimeExceeded || u.Remote != remote || u.From.String() != from {
			t.Errorf("TTL %d: %v, want hop limit exceeded by %s", ttl, err, from)
		}
	}
}

func TestCommandRunsInside(t *testing.T) {
	if os.Getenv("KERNELLAB_TEST_CHILD") != "" {
		self, _ := os.Readlink("/proc/self/ns/net")
		addrs, _ := net.InterfaceAddrs()
		fmt.Println(self, addrs)
		return
	}
	_, host, _, _ := home(t, kernellab.NATConfig{})
	cmd := host.Command(os.Args[0], "-test.run=^TestCommandRunsInside$")
	cmd.Env = append(cmd.Env, "KERNELLAB_TEST_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	if strings.Contains(string(out), own) || !strings.Contains(string(out), private.String()) {
		t.Errorf("the child says %q, want %v and not %s", out, private, own)
	}
	// And this process is where it was.
	if self, _ := os.Readlink("/proc/thread-self/ns/net"); self != own {
		t.Errorf("this thread is in %s, want %s", self, own)
	}
}
