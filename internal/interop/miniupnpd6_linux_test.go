package interop_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

// join6 gives an interface of a namespace an IPv6 address and returns its link-local one,
// once that can be used.
func join6(t *testing.T, n *kernellab.Namespace, name string, addr netip.Addr) (local net.IP) {
	t.Helper()
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
	})
	for deadline := time.Now().Add(patience); err == nil && local == nil; {
		err = n.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			all, err := netlink.AddrList(link, netlink.FAMILY_V6)
			for _, a := range all {
				if a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
					local = a.IP
				}
			}
			return err
		})
		if time.Now().After(deadline) {
			err = errors.New("no link-local address can be used")
		}
		<-time.After(20 * time.Millisecond)
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EACCES) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no IPv6: %v; switch it on (sysctl net.ipv6.conf.all.disable_ipv6=0)", err)
		}
		t.Skipf("no IPv6: %v; switch it on (sysctl net.ipv6.conf.all.disable_ipv6=0)", err)
	}
	if err != nil {
		t.Fatalf("%s: %s: %v", n.Name, name, err)
	}
	return local
}

// Pinholes for IPv6, asked of a router that is known by its link-local address, as
// routers of IPv6 are.
func TestPinholesWithMiniupnpd(t *testing.T) {
	lab := kernellab.New(t)
	need(t, "miniupnpd", "miniupnpd", true)
	bin := buildPrograms(t, "portmap")
	gateway := netip.MustParseAddr("192.168.1.1")
	nat := lab.NAT(kernellab.NATConfig{Name: "nat", Public: netip.MustParseAddr("9.1.2.3"), Gateway: gateway, Mappable: true})
	host := nat.Host("host", netip.MustParseAddr("192.168.1.2"))
	var down string
	err := nat.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "down") {
				down = l.Attrs().Name
			}
		}
		return errors.Join(err, os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	})
	if err != nil {
		t.Fatal(err)
	}
	// No addresses of the documentation's, which miniupnpd serves no better in IPv6.
	inside := netip.MustParseAddr("2a01:1::2")
	join6(t, nat.Namespace, "up", netip.MustParseAddr("2a01:2::1"))
	router := join6(t, nat.Namespace, down, netip.MustParseAddr("2a01:1::1"))
	join6(t, host, "up", inside)
	if err := host.Do(func() error {
		link, err := netlink.LinkByName("up")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: router})
	}); err != nil {
		t.Fatal(err)
	}
	miniupnpd(t, nat, gateway, "listening_ip="+down, "ext_ifname6=up")
	for only, method := range map[string]string{"pcp": "PCP", "upnp": "UPnP"} {
		out, _, err := runBounded(host.Command(filepath.Join(bin, "portmap"), "-only", only, "-addr", inside.String(), "-port", "5000"))
		want := "mapped: UDP [2a01:1::2]:5000 to [2a01:1::2]:5000 by " + method + " of " + router.String()
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", only, err, out)
		}
	}
}
