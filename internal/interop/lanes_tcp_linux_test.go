package interop_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// One side has no UDP, and the kernel of the other's router gives each connection the next
// port: by TCP, whose port is foretold, and by real sockets, many of them on one port.
func TestPredictedTCPThroughKernelNATs(t *testing.T) {
	lab := kernellab.New(t)
	serve(t, lab.Public("servers", stun1, stun2))
	private := netip.MustParseAddr("192.168.1.2")
	for i, c := range []struct {
		name                      string
		hardDials, hardHasNoUDP   bool
		openInputHard, openInputE bool
	}{
		{name: "the easy side dials"},
		{name: "the hard side dials", hardDials: true},
		{name: "the hard side has no UDP", hardHasNoUDP: true},
		{name: "the hard NAT refuses SYNs", openInputHard: true},
		{name: "the easy NAT refuses SYNs", openInputE: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			number := byte(1 + i)
			var sessions [2]*bradawl.Session // the hard side's first
			for j, nat := range []kernellab.NATConfig{
				{Public: netip.AddrFrom4([4]byte{198, 51, 100, number}), Sequential: true, BlockUDP: c.hardHasNoUDP, OpenInput: c.openInputHard},
				{Public: netip.AddrFrom4([4]byte{192, 0, 2, number}), BlockUDP: !c.hardHasNoUDP, OpenInput: c.openInputE},
			} {
				nat.Name = fmt.Sprint("NAT ", i, j)
				sessions[j] = open(t, lab.NAT(nat).Host(fmt.Sprint("host ", i, j), private), private, bradawl.Config{Budget: punch.Budget{Cooldown: -1}})
			}
			from, to := sessions[1], sessions[0]
			if c.hardDials {
				from, to = to, from
			}
			began := time.Now()
			dialled, accepted := connect(t, from, to)
			for _, c := range []*bradawl.Conn{dialled, accepted} {
				if p := awaitDirect(t, c); p.Protocol != "tcp" {
					t.Errorf("by %v", p)
				}
			}
			t.Logf("direct after %v", time.Since(began).Round(time.Millisecond))
			mustCarry(t, dialled, accepted)
			for _, c := range []*bradawl.Conn{dialled, accepted} {
				e := c.Explain()
				if e.Path.Kind != bradawl.PathDirect || e.Path.Protocol != "tcp" || !strings.Contains(e.String(), "tcp_predicted: attempt 1") {
					t.Errorf("%v", e)
				}
				t.Log(e)
			}
			for j, want := range []natprobe.PortModel{natprobe.PortsSequential, natprobe.PortsPreserving} {
				if r, _ := sessions[j].NAT(); r.TCP == nil || r.TCP.Ports.Model != want || j == 0 && r.TCP.Ports.Delta != 1 {
					t.Errorf("found %v, want %v ports", r.TCP, want)
				}
			}
		})
	}
}
