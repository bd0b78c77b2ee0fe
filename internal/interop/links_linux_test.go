package interop_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
	"github.com/bradawl/bradawl/internal/netio"
)

// What netio says of interfaces that the kernel has just made, in a namespace whose /sys is
// first another's, then its own.
func TestLinksOfTheKernel(t *testing.T) {
	lab := kernellab.New(t)
	nat := lab.NAT(kernellab.NATConfig{Name: "nat", Public: netip.MustParseAddr("198.51.100.1")})
	host := nat.Host("host", netip.MustParseAddr("192.168.1.2"))
	links := map[string]netio.LinkInfo{}
	list := func() error {
		clear(links)
		all, err := netio.SystemLinks()
		for _, l := range all {
			links[l.Name] = l
		}
		return err
	}
	err := host.Do(func() error {
		c, err := net.Dial("udp", "192.168.1.1:9") // a refusal by the gateway: its address is known now
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("the gateway answers %v", err)
		}
		return list()
	})
	if err != nil {
		t.Fatal(err)
	}
	up := links["up"]
	if up.Kind != netio.LinkVirtual || !up.Up || up.Gateway != netip.MustParseAddr("192.168.1.1") || len(up.GatewayMAC) != len("02:00:5e:00:00:01") {
		t.Errorf("by netlink alone: %+v", up)
	}
	if up.Packets != 0 {
		t.Errorf("%d packets of another namespace's interface", up.Packets)
	}

	err = host.Do(func() error {
		runtime.LockOSThread() // once more than is undone: the thread and its mounts end with the goroutine
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("sysfs", "/sys", "sysfs", 0, "")); err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
		over, err := netlink.LinkByName("up")
		if err != nil {
			return err
		}
		attrs := func(name string) netlink.LinkAttrs {
			a := netlink.NewLinkAttrs()
			a.Name = name
			return a
		}
		below := func(name string) netlink.LinkAttrs {
			a := attrs(name)
			a.ParentIndex = over.Attrs().Index
			return a
		}
		for i, l := range []netlink.Link{
			&netlink.Bridge{LinkAttrs: attrs("bridge7")},
			&netlink.Macvlan{LinkAttrs: below("on-top"), Mode: netlink.MACVLAN_MODE_BRIDGE},
			&netlink.Vxlan{LinkAttrs: attrs("overlay"), VxlanId: 7, VtepDevIndex: over.Attrs().Index, Port: 4789},
			&netlink.Tuntap{LinkAttrs: attrs("secure"), Mode: netlink.TUNTAP_MODE_TUN},
			&netlink.Tuntap{LinkAttrs: attrs("machine"), Mode: netlink.TUNTAP_MODE_TAP},
		} {
			address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, byte(i), 1), Mask: net.CIDRMask(24, 32)}}
			if err := netlink.LinkAdd(l); err != nil {
				return fmt.Errorf("add %s: %w", l.Attrs().Name, err)
			}
			if err := errors.Join(netlink.AddrAdd(l, address), netlink.LinkSetUp(l)); err != nil {
				return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
			}
		}
		return list()
	})
	if (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, os.ErrNotExist)) && os.Getenv("CI") != "true" {
		t.Skipf("%v; load what makes it: modprobe -a bridge macvlan vxlan tun", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]netio.LinkKind{
		"lo": netio.LinkVirtual, "up": netio.LinkVirtual, "bridge7": netio.LinkVirtual, "on-top": netio.LinkVirtual,
		"overlay": netio.LinkVirtual, "machine": netio.LinkVirtual, "secure": netio.LinkVPN,
	} {
		l, ok := links[name]
		if !ok || l.Kind != want || l.Speed != 0 {
			t.Errorf("%s: %+v, want kind %d", name, l, want)
		}
	}
	if up := links["up"]; up.Packets == 0 || !up.Up {
		t.Errorf("with /sys: %+v", up)
	}
}
