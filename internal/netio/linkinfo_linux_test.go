package netio

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// A host with every kind of interface, as Linux shows it: attributes of
// /sys/class/net by interface, a value beginning with > being a symbolic link.
var host = map[string]map[string]string{
	"lo": {"type": "772", "statistics/rx_packets": "70", "statistics/tx_packets": "70"},
	"eth0": {"type": "1", "device/driver": ">../../../bus/pci/drivers/igb", "speed": "1000",
		"statistics/rx_packets": "1000", "statistics/tx_packets": "500", "statistics/rx_errors": "3",
		"statistics/tx_errors": "2", "statistics/tx_dropped": "1", "statistics/rx_dropped": "999"},
	"eth1":    {"type": "1", "device/driver": ">../../virtio_net", "speed": "-1"},
	"ib0":     {"type": "32", "device/x": "", "speed": "40000"},
	"can0":    {"type": "280", "device/x": ""},
	"wlan0":   {"type": "1", "device/driver": ">../iwlwifi", "wireless/x": "", "statistics/tx_packets": "90", "statistics/tx_errors": "1"},
	"wlan1":   {"type": "1", "uevent": "DEVTYPE=wlan\nINTERFACE=wlan1\nIFINDEX=6\n", "device/x": ""},
	"wlan2":   {"type": "1", "phy80211": ">../../ieee80211/phy2"},
	"wwan0":   {"type": "1", "uevent": "DEVTYPE=wwan\nINTERFACE=wwan0\n", "device/x": "", "speed": "1000"},
	"wwan1":   {"type": "519", "device/x": ""},
	"usb0":    {"type": "1", "device/driver": ">../../rndis_host"},
	"dock0":   {"type": "1", "device/driver": ">../../cdc_ncm", "speed": "1000"},
	"wg0":     {"type": "65534", "uevent": "DEVTYPE=wireguard\nINTERFACE=wg0\n"},
	"tun0":    {"type": "65534", "tun_flags": "0x1001", "speed": "10"},
	"tap0":    {"type": "1", "tun_flags": "0x1002", "speed": "10"},
	"sit1":    {"type": "776"},
	"ppp0":    {"type": "512", "uevent": "DEVTYPE=ppp\n"},
	"docker0": {"type": "1", "uevent": "DEVTYPE=bridge\n", "lower_veth1": ">../veth1", "speed": "10000"},
	"veth1":   {"type": "1", "speed": "10000"},
	"br0":     {"type": "1", "uevent": "DEVTYPE=bridge\n", "lower_veth1": ">../veth1", "lower_eth0.5": ">../eth0.5"},
	"eth0.5":  {"type": "1", "uevent": "DEVTYPE=vlan\n", "lower_eth0": ">../eth0", "speed": "1000"},
	"bond0":   {"type": "1", "uevent": "DEVTYPE=bond\n", "lower_wlan0": ">../wlan0", "lower_eth1": ">../eth1"},
	"vlan9":   {"type": "1", "uevent": "DEVTYPE=vlan\n", "lower_wlan0": ">../wlan0"},
	"vxlan0":  {"type": "1", "uevent": "DEVTYPE=vxlan\n", "lower_eth0": ">../eth0"},
	"loop1":   {"type": "1", "lower_loop2": ">../loop2"},
	"loop2":   {"type": "1", "lower_loop1": ">../loop1"},
	"..":      {},
}

const (
	wirelessTable = `Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   58.  -60.  -256        0      0      0      7     33        0
 wlan1: 0000   35.   40.     0        0      0      0      0      0        0
 wlan2: 0000   70.  what  -256        0      0      0      0      0        0
`
	routeTable = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	0000A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
eth0	%s	%s	0003	0	0	100	%[1]s	0	0	0
wg0	%[1]s	%[1]s	0001	0	0	0	%[1]s	0	0	0
`
	arpTable = `IP address       HW type     Flags       HW address            Mask     Device
192.168.0.1      0x1         0x2         02:00:5e:00:00:09     *        eth1
192.168.0.1      0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.0.1      0x1         0x2         02:00:5e:00:00:01     *        eth0
`
	route6Table = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001    wlan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe8000000000000000fc00fffe000009 00000400 00000002 00000000 00000003    wlan0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe8000000000000000fc00fffe000007 00000400 00000002 00000000 00000003     eth0
`
)

// kernelTree returns the host's files, each interface with the index of its name's length.
func kernelTree() fstest.MapFS {
	tree := fstest.MapFS{}
	for name, files := range host {
		if name == ".." {
			continue
		}
		tree[sysfs(name, "ifindex")] = &fstest.MapFile{Data: fmt.Appendln(nil, len(name))}
		for file, text := range files {
			f := &fstest.MapFile{Data: []byte(text + "\n")}
			if target, ok := strings.CutPrefix(text, ">"); ok {
				f = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
				if file == "phy80211" {
					tree["sys/class/ieee80211/phy2/index"] = &fstest.MapFile{}
				}
			}
			tree[sysfs(name, file)] = f
		}
	}
	hexOf := func(a string) string {
		b := netip.MustParseAddr(a).As4()
		return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
	}
	for file, text := range map[string]string{
		"wireless": wirelessTable, "arp": arpTable, "ipv6_route": route6Table,
		"route": fmt.Sprintf(routeTable, hexOf("0.0.0.0"), hexOf("192.168.0.1")),
	} {
		tree[procNet+file] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

func describe(k kernelFiles, name string) LinkInfo {
	l := LinkInfo{Name: name, Kind: kindByName(name, 0)}
	k.describe(&l, len(name))
	return l
}

func TestKindsFromTheKernel(t *testing.T) {
	k := kernelFiles{root: kernelTree(), kinds: map[string]string{"sit1": "sit", "veth1": "veth"}}
	want := map[string]LinkKind{
		"lo": LinkVirtual, "eth0": LinkWired, "eth1": LinkWired, "ib0": LinkWired, "can0": LinkUnknown, "dock0": LinkWired,
		"wlan0": LinkWiFi, "wlan1": LinkWiFi, "wlan2": LinkWiFi,
		"wwan0": LinkCellular, "wwan1": LinkCellular, "usb0": LinkCellular,
		"wg0": LinkVPN, "tun0": LinkVPN, "sit1": LinkVPN, "ppp0": LinkUnknown,
		"tap0": LinkVirtual, "docker0": LinkVirtual, "veth1": LinkVirtual, "vxlan0": LinkVirtual, "loop1": LinkVirtual, "loop2": LinkVirtual,
		"br0": LinkWired, "eth0.5": LinkWired, "bond0": LinkWired, "vlan9": LinkWiFi,
		"..": LinkUnknown,
	}
	for name := range host {
		if got := describe(k, name).Kind; got != want[name] {
			t.Errorf("%s: %d, want %d", name, got, want[name])
		}
	}
}

func TestMetricsFromTheKernel(t *testing.T) {
	k := kernelFiles{root: kernelTree()}
	eth0 := describe(k, "eth0")
	if eth0.Speed != 1e9 || eth0.Packets != 1500 || eth0.Lost != 6 || eth0.SignalKnown {
		t.Errorf("%+v", eth0)
	}
	if eth0.Gateway != netip.MustParseAddr("192.168.0.1") || eth0.GatewayMAC != "02:00:5e:00:00:01" {
		t.Errorf("gateway %v at %q", eth0.Gateway, eth0.GatewayMAC)
	}
	wlan0 := describe(k, "wlan0")
	if !wlan0.SignalKnown || wlan0.Signal != 0.8 || wlan0.Packets != 90 || wlan0.Lost != 8 || wlan0.Speed != 0 {
		t.Errorf("%+v", wlan0)
	}
	if wlan0.Gateway != netip.MustParseAddr("fe80::fc:ff:fe00:9") || wlan0.GatewayMAC != "" {
		t.Errorf("gateway %v at %q", wlan0.Gateway, wlan0.GatewayMAC)
	}
	if l := describe(k, "wlan1"); !l.SignalKnown || l.Signal != 0.5 { // no dBm: 35 of 70
		t.Errorf("%+v", l)
	}
	for _, name := range []string{"wlan2", "eth1", "tun0", "wg0", "lo"} {
		if l := describe(k, name); l.SignalKnown || l.Speed != 0 || l.Gateway.IsValid() {
			t.Errorf("%+v", l)
		}
	}
}

// Where /sys shows another network namespace, its interfaces of the same names are not ours.
func TestSysfsOfAnotherNamespace(t *testing.T) {
	k := kernelFiles{root: kernelTree(), kinds: map[string]string{"eth1": "veth"}}
	for name, want := range map[string]LinkKind{"eth0": LinkWired, "eth1": LinkVirtual} {
		l := LinkInfo{Name: name, Kind: kindByName(name, 0)}
		k.describe(&l, 99)
		if l.Kind != want || l.Speed != 0 || l.Packets != 0 {
			t.Errorf("%+v", l)
		}
	}
}

func TestKernelTellsNothing(t *testing.T) {
	for _, root := range []fs.FS{fstest.MapFS{}, os.DirFS(t.TempDir()), fstest.MapFS{
		sysfs("eth0", "ifindex"): {Data: []byte("4")},
		procNet + "route":        {Data: []byte("eth0 00000000\neth0 00000000 XYZ 0 0 0 0 00000000\n\n")},
		procNet + "ipv6_route":   {Data: []byte("0 00 0 0 fe80 0 0 0 0 eth0\n0 00 0 0 zz 0 0 0 0 eth0\n")},
		procNet + "wireless":     {Data: []byte("eth0:\neth0: 0 1\n")},
		procNet + "arp":          {Data: []byte("192.168.0.1\n")},
	}} {
		l := describe(kernelFiles{root: root}, "eth0")
		if l.Speed != 0 || l.Packets != 0 || l.Lost != 0 || l.SignalKnown || l.Gateway.IsValid() || l.GatewayMAC != "" {
			t.Errorf("%+v", l)
		}
	}
}

func TestKindsFromNetlink(t *testing.T) {
	if _, err := net.InterfaceByName("lo"); err == nil && netlinkKinds() == nil {
		t.Error("rtnetlink does not answer")
	}

	attr := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	info := attr(unix.IFLA_INFO_KIND, []byte("wireguard\x00"))
	body := append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_MTU, []byte{1, 2, 3, 4, 5})...)
	body = append(body, attr(unix.IFLA_IFNAME, []byte("wg0\x00"))...)
	body = append(body, attr(unix.IFLA_LINKINFO|unix.NLA_F_NESTED, info)...)
	message := func(body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
		b = binary.NativeEndian.AppendUint16(b, unix.RTM_NEWLINK)
		return append(append(b, make([]byte, 10)...), body...)
	}
	rib := message(body)
	if got := linkKinds(rib); len(got) != 1 || got["wg0"] != "wireguard" {
		t.Errorf("%v", got)
	}
	if got := linkKinds(message(body[:4])); len(got) != 0 {
		t.Errorf("a message that ends early: %v", got)
	}
	if got := attribute(attr(unix.IFLA_MTU, []byte{1})[:5], unix.IFLA_IFNAME); got != nil {
		t.Errorf("an attribute without padding: %v", got)
	}
	for i := range rib {
		for _, b := range []byte{0, 1, 3, 4, 255} { // lengths that lead nowhere
			broken := append([]byte(nil), rib...)
			broken[i] = b
			linkKinds(broken)
		}
		linkKinds(rib[:i])
	}
}
