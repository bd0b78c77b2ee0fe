package interop_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

// patience bounds every wait: the programs are told to give up earlier.
const patience = 60 * time.Second

// Where the servers are.
var (
	stun1 = netip.MustParseAddr("203.0.113.10")
	stun2 = netip.MustParseAddr("203.0.113.11")
)

var (
	rendezvousAddr = netip.AddrPortFrom(stun1, 8080)
	stunAddrs      = []netip.AddrPort{netip.AddrPortFrom(stun1, 3478), netip.AddrPortFrom(stun2, 3478)}
)

func TestPeersPunchThroughKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	bin := buildPrograms(t, "rendezvous", "stunserver", "peer")
	startServers(t, lab, bin)
	for i, c := range []struct {
		name     string
		proto    string // what the peers are asked for
		blockUDP bool   // on one side
		want     string // over what they must meet
	}{
		{"UDP", "udp", false, "udp"},
		{"TCP", "tcp", false, "tcp"},
		{"TCP where one side blocks UDP", "tcp", true, "tcp"},
		{"auto where one side blocks UDP", "auto", true, "tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			publicA := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)})
			publicB := netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})
			natA := lab.NAT(kernellab.NATConfig{Name: fmt.Sprint("nat-a", i), Public: publicA})
			natB := lab.NAT(kernellab.NATConfig{Name: fmt.Sprint("nat-b", i), Public: publicB, BlockUDP: c.blockUDP})
			// The same private address on both sides, as it often is at home.
			private := netip.MustParseAddr("192.168.1.2")
			var wg sync.WaitGroup
			for _, peer := range []struct {
				host  *kernellab.Namespace
				other netip.Addr // where it must see the other side
			}{
				{natA.Host(fmt.Sprint("host-a", i), private), publicB},
				{natB.Host(fmt.Sprint("host-b", i), private), publicA},
			} {
				wg.Go(func() {
					events, err := runPeer(peer.host, bin, fmt.Sprint("kernellab", i), c.proto)
					checkDirect(t, peer.host.Name, peer.other.String(), c.want, events, err)
				})
			}
			wg.Wait()
		})
	}
}

// buildPrograms builds examples of the main module and returns their folder.
func buildPrograms(t *testing.T, names ...string) string {
	t.Helper()
	bin := t.TempDir()
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "./examples/"+name)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return bin
}

// startServers runs the rendezvous and the STUN server on a public host until
// the test ends, and returns when they serve.
func startServers(t *testing.T, lab *kernellab.Lab, bin string) {
	t.Helper()
	public := lab.Public("servers", stun1, stun2)
	start(t, public.Command(filepath.Join(bin, "rendezvous"), "-addr", rendezvousAddr.String()))
	startSTUN(t, public, bin)
	deadline := time.Now().Add(patience)
	for {
		err := public.Do(func() error {
			c, err := net.DialTimeout("tcp4", rendezvousAddr.String(), time.Second)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the rendezvous does not listen on %v: %v", rendezvousAddr, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// startSTUN runs the STUN server, with its two addresses, until the test ends, and
// returns when it serves.
func startSTUN(t *testing.T, public *kernellab.Namespace, bin string) {
	t.Helper()
	out := start(t, public.Command(filepath.Join(bin, "stunserver"),
		"-ip1", stun1.String(), "-ip2", stun2.String(), "-port1", "3478", "-port2", "3479"))
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("stunserver says nothing: %v", err)
	}
}

// start starts a server and returns its standard output. What it writes to
// standard error is shown if the test fails.
func start(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // "killed", which it was
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Args[0], &stderr)
		}
	})
	return out
}

// event is one line of peer -json.
type event struct {
	Event  string `json:"event"`
	Path   string `json:"path"`
	Proto  string `json:"proto"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
	Reason string `json:"reason"`
	Ms     int    `json:"ms"`
	Sent   int    `json:"sent"`
	Echoed int    `json:"echoed"`
}

// runPeer runs one peer to its end.
func runPeer(h *kernellab.Namespace, bin, room, proto string) ([]event, error) {
	var servers []string
	for _, a := range stunAddrs {
		servers = append(servers, a.String())
	}
	cmd := h.Command(filepath.Join(bin, "peer"),
		"-rendezvous", fmt.Sprintf("ws://%v/", rendezvousAddr), "-room", room,
		"-stun", strings.Join(servers, ","), "-proto", proto, "-timeout", "40s", "-linger", "1s", "-json", "-v")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var events []event
	for line := range bytes.Lines(out) {
		var e event
		if jerr := json.Unmarshal(line, &e); jerr != nil {
			return events, fmt.Errorf("standard output has %q, which is no JSON object: %w", line, jerr)
		}
		events = append(events, e)
	}
	if err != nil {
		err = fmt.Errorf("%w\nevents: %+v\nstandard error:\n%s", err, events, &stderr)
	}
	return events, err
}

// checkDirect checks what a peer reported: the first path is direct over proto,
// to the other side's public address, and every message was echoed.
func checkDirect(t *testing.T, name, public, proto string, events []event, err error) {
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	connected, echoed := false, false
	for _, e := range events {
		switch e.Event {
		case "connected":
			remote, perr := netip.ParseAddrPort(e.Remote)
			if e.Path != "direct" || e.Proto != proto || perr != nil || remote.Addr().String() != public {
				t.Errorf("%s: connected %+v, want direct over %s to %s", name, e, proto, public)
			} else {
				t.Logf("%s: %s -> %s over %s, %d ms", name, e.Local, e.Remote, e.Proto, e.Ms)
			}
			connected = true
		case "echo":
			echoed = e.Echoed >= 20 // resent ones count as sent again
		case "failed":
			t.Errorf("%s: failed: %s", name, e.Reason)
		}
	}
	if !connected || !echoed {
		t.Errorf("%s: events %+v, want connected, and 20 messages echoed", name, events)
	}
}
