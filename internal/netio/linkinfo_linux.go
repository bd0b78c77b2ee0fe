package netio

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// systemDescriber returns what adds the kernel's knowledge to a LinkInfo.
func systemDescriber() func(l *LinkInfo, index int) {
	k := kernelFiles{root: os.DirFS("/"), kinds: netlinkKinds()}
	return k.describe
}

// kernelFiles reads what the kernel tells of interfaces in files. What is not there, or
// not for us to read, stays unknown.
type kernelFiles struct {
	root  fs.FS
	kinds map[string]string // what made the interface, from netlink
}

// The directory of the calling thread, which may be in a network namespace of its own.
const procNet = "proc/thread-self/net/"

func (k kernelFiles) describe(l *LinkInfo, index int) {
	l.Gateway, l.GatewayMAC = k.gateway(l.Name)
	signal, retries := k.wireless(l.Name)
	if signal >= 0 {
		l.Signal, l.SignalKnown = signal, true
	}
	// /sys shows the network namespace that it was mounted in, which need not be ours.
	if n, ok := k.number(l.Name, "ifindex"); !ok || n != uint64(index) {
		if kind := kindByMaker(k.kinds[l.Name]); kind != LinkUnknown {
			l.Kind = kind
		}
		return
	}
	l.Kind = k.kind(l.Name, 0)
	if mbits, ok := k.number(l.Name, "speed"); ok && l.Kind == LinkWired {
		l.Speed = float64(mbits) * 1e6 // of others it is made up
	}
	count := func(names ...string) (sum uint64) {
		for _, name := range names {
			n, _ := k.number(l.Name, "statistics/"+name)
			sum += n
		}
		return sum
	}
	// rx_dropped also counts frames of protocols that nobody listens for.
	l.Packets = count("rx_packets", "tx_packets")
	l.Lost = count("rx_errors", "tx_errors", "tx_dropped") + retries
}

// deepest is how many interfaces may lie on top of each other, such as a bridge over a
// VLAN over a bond.
const deepest = 4

// kind finds out the kind of an interface; for one on top of others, theirs.
func (k kernelFiles) kind(name string, depth int) LinkKind {
	maker, device := k.kinds[name], k.deviceType(name)
	arp, _ := k.number(name, "type")
	tun, isTun := k.number(name, "tun_flags")
	switch {
	case k.has(name, "wireless"), k.has(name, "phy80211"), device == "wlan":
		return LinkWiFi
	case device == "wwan", arp == unix.ARPHRD_RAWIP, k.isTether(name):
		return LinkCellular
	case isTun && tun&unix.IFF_TUN != 0:
		return LinkVPN
	case arp == unix.ARPHRD_PPP:
		return LinkUnknown // a DSL line, a modem or a VPN
	}
	if kind := kindByMaker(maker); kind != LinkUnknown {
		return kind
	}
	if kind := kindByMaker(device); kind != LinkUnknown {
		return kind
	}
	if k.has(name, "device") {
		if arp == unix.ARPHRD_ETHER || arp == unix.ARPHRD_INFINIBAND {
			return LinkWired
		}
		return LinkUnknown
	}
	best := LinkVirtual
	if depth < deepest {
		for lower := range k.below(name) {
			if kind := k.kind(lower, depth+1); kind >= LinkWired && kind < min(best, LinkVPN) {
				best = kind
			}
		}
	}
	return best
}

// kindByMaker tells what the kernel module is for that made an interface, as
// IFLA_INFO_KIND or as DEVTYPE; LinkUnknown where that does not say.
func kindByMaker(maker string) LinkKind {
	switch maker {
	case "wireguard", "ovpn", "ipip", "ip6tnl", "sit", "gre", "gretap", "ip6gre", "ip6gretap", "vti", "vti6", "xfrm":
		return LinkVPN
	case "rmnet":
		return LinkCellular
	case "veth", "netkit", "dummy", "vxlan", "geneve":
		return LinkVirtual
	}
	return LinkUnknown
}

// isTether reports whether the interface is a phone that shares its connection over USB.
func (k kernelFiles) isTether(name string) bool {
	driver, err := fs.ReadLink(k.root, sysfs(name, "device/driver"))
	if err != nil {
		return false
	}
	switch path.Base(driver) {
	case "rndis_host", "ipheth":
		return true
	}
	return false
}

// below yields the interfaces that an interface lies on top of.
func (k kernelFiles) below(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		entries, err := fs.ReadDir(k.root, sysfs(name, ""))
		if err != nil {
			return
		}
		for _, e := range entries {
			if lower, ok := strings.CutPrefix(e.Name(), "lower_"); ok && !yield(lower) {
				return
			}
		}
	}
}

func sysfs(name, file string) string { return path.Join("sys/class/net", name, file) }

func (k kernelFiles) has(name, file string) bool {
	_, err := fs.Stat(k.root, sysfs(name, file))
	return err == nil
}

// read returns a file's text, at most 64 KiB, empty where it cannot be read.
func (k kernelFiles) read(file string) string {
	f, err := k.root.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return ""
	}
	return string(text)
}

func (k kernelFiles) number(name, file string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(k.read(sysfs(name, file))), 0, 64)
	return n, err == nil // a speed of -1 is none
}

func (k kernelFiles) deviceType(name string) string {
	for line := range strings.Lines(k.read(sysfs(name, "uevent"))) {
		if t, ok := strings.CutPrefix(line, "DEVTYPE="); ok {
			return strings.TrimSpace(t)
		}
	}
	return ""
}

// wireless returns the signal of a Wi-Fi interface, 0 to 1, negative where it is
// unknown, and how many packets were given up after too many tries.
func (k kernelFiles) wireless(name string) (signal float64, retries uint64) {
	for fields := range k.table("wireless") {
		if len(fields) < 11 || fields[0] != name+":" {
			continue
		}
		link, err1 := strconv.ParseFloat(fields[2], 64)
		level, err2 := strconv.ParseFloat(fields[3], 64)
		retries, _ = strconv.ParseUint(fields[8], 10, 64)
		switch {
		case err1 != nil || err2 != nil:
			return -1, retries
		case level < 0: // dBm: nothing is received below -100, nothing gained above -50
			return min(max((level+100)/50, 0), 1), retries
		default: // of 70, as mac80211 has it
			return min(max(link/70, 0), 1), retries
		}
	}
	return -1, 0
}

// gateway returns the next hop of the first default route over an interface, and its
// link-layer address. Only IPv4's neighbours are in a file; an IPv6 gateway's
// link-local address says as much.
func (k kernelFiles) gateway(name string) (addr netip.Addr, mac string) {
	for fields := range k.table("route") {
		if len(fields) < 8 || fields[0] != name || fields[1] != "00000000" || fields[7] != "00000000" {
			continue
		}
		if n, err := strconv.ParseUint(fields[2], 16, 32); err == nil && n != 0 {
			var b [4]byte
			binary.NativeEndian.PutUint32(b[:], uint32(n))
			addr = netip.AddrFrom4(b)
			return addr, k.neighbour(name, addr)
		}
	}
	for fields := range k.table("ipv6_route") {
		if len(fields) < 10 || fields[9] != name || fields[1] != "00" {
			continue
		}
		var b [16]byte
		if n, err := hex.Decode(b[:], []byte(fields[4][:min(len(fields[4]), 32)])); err == nil && n == 16 && b != [16]byte{} {
			return netip.AddrFrom16(b), ""
		}
	}
	return netip.Addr{}, ""
}

func (k kernelFiles) neighbour(name string, addr netip.Addr) string {
	for fields := range k.table("arp") {
		if len(fields) >= 6 && fields[0] == addr.String() && fields[5] == name && fields[2] != "0x0" {
			return fields[3]
		}
	}
	return ""
}

// table yields the fields of each line of a file about the network.
func (k kernelFiles) table(file string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for line := range strings.Lines(k.read(procNet + file)) {
			if !yield(strings.Fields(line)) {
				return
			}
		}
	}
}
