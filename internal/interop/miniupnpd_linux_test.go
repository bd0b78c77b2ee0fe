package interop_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

// miniupnpd runs the daemon of most home routers on a kernel NAT until the test ends.
func miniupnpd(t *testing.T, nat *kernellab.NAT, gateway netip.Addr, lines ...string) *output {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "miniupnpd.conf")
	all := append([]string{
		"ext_ifname=up", fmt.Sprintf("listening_ip=%v/24", gateway), "port=0", "enable_natpmp=yes", "enable_upnp=yes", "secure_mode=yes",
		"min_lifetime=120", "max_lifetime=86400", "lease_file=" + filepath.Join(dir, "leases"), "uuid=f4bc02c1-2c8c-4756-87d4-b28d45065a2d",
		"upnp_table_name=filter", "upnp_nat_table_name=filter", "upnp_forward_chain=miniupnpd", "upnp_nat_chain=prerouting_miniupnpd",
		"upnp_nat_postrouting_chain=postrouting_miniupnpd", "allow 1024-65535 192.168.1.0/24 1024-65535", "deny 0-65535 0.0.0.0/0 0-65535",
	}, lines...)
	if err := os.WriteFile(conf, []byte(strings.Join(all, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said := &output{}
	cmd := nat.Command("miniupnpd", "-d", "-f", conf, "-P", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("miniupnpd said:\n%s", said.String())
		}
	})
	// What it opens last is the port of PCP and NAT-PMP; while that is closed the kernel says so.
	probe := func() error {
		c, err := net.Dial("udp4", netip.AddrPortFrom(gateway, 5351).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.Write([]byte{0, 0}); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 100))
		return err
	}
	deadline := time.Now().Add(patience)
	for nat.Do(probe) != nil {
		if time.Now().After(deadline) {
			t.Fatal("miniupnpd does not answer")
		}
		<-time.After(20 * time.Millisecond)
	}
	return said
}

// miniupnpd, which is what most home routers run, maps and unmaps by each protocol: a
// stranger's datagram gets through the kernel's NAT while the mapping stands.
func TestPortmapWithMiniupnpd(t *testing.T) {
	lab := kernellab.New(t)
	need(t, "miniupnpd", "miniupnpd", true)
	bin := buildPrograms(t, "portmap")
	gateway := netip.MustParseAddr("192.168.1.1")
	// No address of the documentation ranges, which it holds to be private.
	outside := netip.MustParseAddr("9.1.2.3")
	nat := lab.NAT(kernellab.NATConfig{Name: "nat", Public: outside, Gateway: gateway, Mappable: true})
	host := nat.Host("host", netip.MustParseAddr("192.168.1.2"))
	stranger := lab.Public("stranger", stun1).ListenUDP(netip.AddrPortFrom(stun1, 0).String())
	miniupnpd(t, nat, gateway)

	external := regexp.MustCompile(`mapped: UDP (\S+) to \S+ by (\S+) of`)
	for only, method := range map[string]string{"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP", "": ""} {
		t.Run("by "+only, func(t *testing.T) {
			said := &output{}
			cmd := host.Command(filepath.Join(bin, "portmap"), "-hold", "1m", "-only", only)
			cmd.Stdout, cmd.Stderr = said, said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			await := func(what string, found func(string) bool) {
				t.Helper()
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				timeout := time.After(patience)
				for !found(said.String()) {
					select {
					case <-tick.C:
					case err := <-ended:
						t.Fatalf("portmap ended: %v; it said\n%s", err, said.String())
					case <-timeout:
						t.Fatalf("%s: portmap said\n%s", what, said.String())
					}
				}
			}
			await("no mapping", external.MatchString)
			found := external.FindStringSubmatch(said.String())
			at, err := netip.ParseAddrPort(found[1])
			if err != nil || at.Addr() != outside || method != "" && found[2] != method || strings.Contains(said.String(), "not public") {
				t.Errorf("portmap said\n%s", said.String())
			}
			knock := func() {
				if _, err := stranger.WriteToUDPAddrPort([]byte("knock"), at); err != nil {
					t.Fatal(err)
				}
			}
			knock()
			await("the stranger does not get through", func(s string) bool { return strings.Contains(s, "received 5 bytes from "+stun1.String()) })

			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("portmap: %v\n%s", err, said.String())
				}
			case <-time.After(patience):
				t.Fatal("portmap does not end")
			}
			// The port is free again: a mapping that another program asks for, at the same port,
			// is given it.
			port := fmt.Sprint(at.Port())
			out, _, err := runBounded(host.Command(filepath.Join(bin, "portmap"), "-only", only, "-external", port))
			if err != nil || !strings.Contains(out, "mapped: UDP "+at.String()) {
				t.Errorf("asked for port %s after it was deleted: %v\n%s", port, err, out)
			}
		})
	}
}

// A router that refuses says so in its own words, and one that knows that there is another
// NAT beyond it, too.
func TestMiniupnpdRefuses(t *testing.T) {
	lab := kernellab.New(t)
	need(t, "miniupnpd", "miniupnpd", true)
	bin := buildPrograms(t, "portmap")
	for _, c := range []struct {
		public, only, port string
		want               []string
	}{
		// By the other two it would look for another port among all of them, for minutes.
		{"9.1.2.3", "upnp", "80", []string{"UPnP of 192.168.1.1: NoPortMapsAvailable (728)"}},
		{"10.1.2.3", "", "5000", []string{"PCP of 192.168.1.1: NO_RESOURCES (8)", "NAT-PMP of 192.168.1.1: Network Failure (3)", "no outside address"}},
	} {
		gateway := netip.MustParseAddr("192.168.1.1")
		nat := lab.NAT(kernellab.NATConfig{Name: "nat " + c.public, Public: netip.MustParseAddr(c.public), Gateway: gateway, Mappable: true})
		host := nat.Host("host behind "+c.public, netip.MustParseAddr("192.168.1.2"))
		miniupnpd(t, nat, gateway)
		out, _, err := runBounded(host.Command(filepath.Join(bin, "portmap"), "-only", c.only, "-tcp", "-port", c.port))
		for _, want := range c.want {
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("behind %s: %v\n%s", c.public, err, out)
			}
		}
	}
}
