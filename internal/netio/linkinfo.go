package netio

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// LinkKind is what a network interface sends over.
type LinkKind uint8

// The kinds of interfaces.
const (
	LinkUnknown LinkKind = iota
	LinkWired
	LinkWiFi
	LinkCellular
	LinkVPN     // a tunnel over another interface
	LinkVirtual // leads to software on this host: bridges, containers, virtual machines, loopback
)

// LinkInfo is what the system tells of a network interface.
type LinkInfo struct {
	Name string
	Kind LinkKind
	Up   bool // is up and has a carrier

	// Speed is the rate of a wired link in bits per second; 0: unknown.
	Speed float64

	// Packets were sent or received since the interface is there, Lost were not because of
	// errors, full queues or, on Wi-Fi, too many tries. Both 0: unknown.
	Packets, Lost uint64

	// Signal is that of Wi-Fi, from 0, where it ends, to 1.
	Signal      float64
	SignalKnown bool

	// Prefixes are the networks that the interface has an address in, but for
	// link-local IPv6; masked.
	Prefixes []netip.Prefix
	// Gateway is the next hop of the default route over the interface, of IPv4 if there
	// is one; not valid: none, or unknown. GatewayMAC is its link-layer address; empty:
	// unknown.
	Gateway    netip.Addr
	GatewayMAC string
}

// LinkLister returns what is known of the host's interfaces. [SystemLinks] is the
// usual one.
type LinkLister func() ([]LinkInfo, error)

// SystemLinks describes the interfaces that are up and have an address beside a
// link-local one of IPv6. On Linux it asks the kernel (netlink, sysfs and procfs), and
// leaves out what the kernel keeps from us. Elsewhere it knows names, addresses and
// what kind of interface usually has such a name.
func SystemLinks() ([]LinkInfo, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("netio: list the host's interfaces: %w", err)
	}
	describe := systemDescriber()
	var links []LinkInfo
	for _, ifi := range interfaces {
		l := LinkInfo{
			Name:     ifi.Name,
			Kind:     kindByName(ifi.Name, ifi.Flags),
			Up:       ifi.Flags&net.FlagRunning != 0,
			Prefixes: prefixes(ifi),
		}
		if ifi.Flags&net.FlagUp == 0 || len(l.Prefixes) == 0 {
			continue
		}
		describe(&l, ifi.Index)
		links = append(links, l)
	}
	return links, nil
}

func prefixes(ifi net.Interface) []netip.Prefix {
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil // it went away meanwhile
	}
	var list []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		addr = addr.Unmap()
		bits, _ := n.Mask.Size()
		p, err := addr.Prefix(bits)
		if !ok || err != nil || addr.Is6() && addr.IsLinkLocalUnicast() {
			continue
		}
		list = append(list, p)
	}
	return list
}

// nameKinds are how interfaces are usually called on Linux (by systemd and by the kernel),
// macOS and iOS, the BSDs, and Windows, which has whole words. A name matches by its
// beginning, or where # stands for a number as a whole; the first match counts.
var nameKinds = []struct {
	names string
	kind  LinkKind
}{
	{"en# ppp", LinkUnknown}, // macOS' Wi-Fi or Ethernet; a DSL line, a modem or a VPN
	{"veth docker virbr vmnet vnet# vboxnet br- bridge tap epair awdl llw anpi ap# dummy lxc cni flannel cali", LinkVirtual},
	{"tun utun wg tailscale zt ipsec gif# stf# gre sit ovpn nordlynx", LinkVPN},
	{"ww pdp_ip rmnet ccmni cellular mobile", LinkCellular},
	{"wl wi-fi wifi ath# iwn# iwm# iwx# rtwn#", LinkWiFi},
	{"eth en em# igb# igc# ix# re# bge# vtnet# hn# vmx#", LinkWired},
}

// kindByName guesses the kind from name and flags.
func kindByName(name string, flags net.Flags) LinkKind {
	if flags&net.FlagLoopback != 0 {
		return LinkVirtual
	}
	name = strings.ToLower(name)
	numbered := strings.TrimRight(name, "0123456789") + "#"
	for _, n := range nameKinds {
		for pattern := range strings.FieldsSeq(n.names) {
			if pattern == numbered || strings.HasPrefix(name, pattern) {
				return n.kind
			}
		}
	}
	if flags&net.FlagPointToPoint != 0 {
		return LinkVPN
	}
	return LinkUnknown
}
