package kernellab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// coreAddr is the core router's address towards everybody, which no test gives
// to another. Traceroute shows it, so it is as public as the other addresses.
var coreAddr = netip.MustParseAddr("203.0.113.254")

// Lab is an internet: a core router with hosts and home routers around it.
// Addresses of the documentation ranges are as good as any. It is for the
// test's own goroutine.
type Lab struct {
	// Core routes between everybody attached to it.
	Core *Namespace

	t testing.TB
}

// New makes an internet with nobody on it. It skips the test, or fails it in
// CI, where that is not possible.
func New(t testing.TB) *Lab {
	t.Helper()
	core, err := newRouter(t, "core")
	if err != nil {
		unavailable(t, err)
	}
	l := &Lab{Core: core, t: t}
	// What else a lab needs is tried out here, so that a kernel without it
	// skips the test and does not fail it halfway.
	if _, err := newNAT(t, l.Core, coreAddr, NATConfig{
		Name: "trial", Public: netip.MustParseAddr("192.0.2.255"), FullyRandom: true, Ports: [2]uint16{1024, 65535},
		ForwardTo: netip.MustParseAddr("192.168.1.2"), KnownOnly: true,
	}); err != nil {
		unavailable(t, err)
	}
	return l
}

// unavailable ends the test because the lab cannot be had.
func unavailable(t testing.TB, err error) {
	t.Helper()
	remedy := "run as root on Linux with network namespaces, veth and nftables NAT (modprobe veth nft_masq nft_ct)"
	if errors.Is(err, os.ErrPermission) {
		remedy = "run as root: sudo -E env PATH=\"$PATH\" go test ./..."
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no kernel lab: %v; %s", err, remedy)
	}
	t.Skipf("no kernel lab: %v; %s", err, remedy)
}

// Public puts a host on the internet, without any filter.
func (l *Lab) Public(name string, addrs ...netip.Addr) *Namespace {
	l.t.Helper()
	n, err := newNamespace(l.t, name)
	if err == nil {
		err = attach(l.Core, coreAddr, n, addrs...)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// Firewalled puts a host on the internet that lets in only what it asked for.
func (l *Lab) Firewalled(name string, addrs ...netip.Addr) *Namespace {
	l.t.Helper()
	n := l.Public(name, addrs...)
	if err := firewall(n); err != nil {
		l.t.Fatalf("%s: nftables: %v", name, err)
	}
	return n
}

// NATConfig says what a home router is like. Mapping by the kernel's masquerade
// is by address and port of both ends, but keeps the source port while it is
// free: seen from outside it looks endpoint-independent until two inner
// sockets want the same port. Filtering is by address and port.
type NATConfig struct {
	Name   string     // for messages
	Public netip.Addr // the one public address
	// Gateway is the router's inner address. Default 192.168.1.1.
	Gateway netip.Addr

	// FullyRandom picks a random port for every connection: a symmetric NAT
	// with random ports.
	FullyRandom bool
	// Ports, if set, are the least and the greatest public port, as of a host
	// that shares its address with others.
	Ports [2]uint16
	// Sequential gives every connection, of UDP and of TCP, the next port: a symmetric NAT
	// with ports that can be foretold.
	Sequential bool
	// OpenInput lets in what nobody asked for as far as the router itself, as a computer
	// that masquerades for others does. The kernel then remembers it for 30 s, and gives no
	// flow towards its sender the port that it came to.
	OpenInput bool
	// BlockUDP drops all UDP between the inside and the internet.
	BlockUDP bool

	// ForwardTo is an inner host that gets the UDP that nobody asked for (often
	// called DMZ), on the port that it was sent to: for it this is a full cone.
	// Default: nobody.
	ForwardTo netip.Addr
	// Mappable adds the nftables chains that miniupnpd fills with what hosts inside ask
	// for, and lets in what they map.
	Mappable bool
	// KnownOnly passes on to it only what comes from addresses that something
	// inside has sent to: a restricted cone.
	KnownOnly bool
}

// NAT is a home router.
type NAT struct {
	*Namespace

	t       testing.TB
	gateway netip.Addr
}

// NAT puts a home router on the internet.
func (l *Lab) NAT(c NATConfig) *NAT {
	l.t.Helper()
	n, err := newNAT(l.t, l.Core, coreAddr, c)
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// NAT puts a router behind n, which is a carrier's then. Its Public address is
// one of the carrier's network, and its Gateway should be another than n's.
func (n *NAT) NAT(c NATConfig) *NAT {
	n.t.Helper()
	inner, err := newNAT(n.t, n.Namespace, n.gateway, c)
	if err != nil {
		n.t.Fatal(err)
	}
	return inner
}

func newNAT(t testing.TB, upstream *Namespace, gateway netip.Addr, c NATConfig) (*NAT, error) {
	n, err := newRouter(t, c.Name)
	if err != nil {
		return nil, err
	}
	if err := attach(upstream, gateway, n, c.Public); err != nil {
		return nil, err
	}
	if err := masquerade(n, c); err != nil {
		return nil, fmt.Errorf("%s: nftables masquerade: %w", n.Name, err)
	}
	if c.Mappable {
		if err := mappable(n); err != nil {
			return nil, fmt.Errorf("%s: nftables chains of miniupnpd: %w", n.Name, err)
		}
	}
	if !c.Gateway.IsValid() {
		c.Gateway = netip.AddrFrom4([4]byte{192, 168, 1, 1})
	}
	return &NAT{Namespace: n, t: t, gateway: c.Gateway}, nil
}

// Host puts a host behind the router, with a private address.
func (n *NAT) Host(name string, addr netip.Addr) *Namespace {
	n.t.Helper()
	h, err := newNamespace(n.t, name)
	if err == nil {
		err = attach(n.Namespace, n.gateway, h, addr)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// newRouter makes a namespace that forwards.
func newRouter(t testing.TB, name string) (*Namespace, error) {
	n, err := newNamespace(t, name)
	if err != nil {
		return nil, err
	}
	return n, n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
}

// uplink is the name of the interface towards the router.
const uplink = "up"

// attach joins node to router by a wire of its own. Both ends route host by
// host, so that any address can be anywhere: the router is gateway to node.
func attach(router *Namespace, gateway netip.Addr, node *Namespace, addrs ...netip.Addr) error {
	links, err := router.nl.LinkList()
	if err != nil {
		return fmt.Errorf("%s: list interfaces: %w", router.Name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("down%d", len(links))
	wire := &netlink.Veth{LinkAttrs: attrs, PeerName: uplink, PeerNamespace: netlink.NsFd(node.handle())}
	if err := router.nl.LinkAdd(wire); err != nil {
		return fmt.Errorf("%s: add veth to %s: %w", router.Name, node.Name, err)
	}
	if err := errors.Join(router.up(attrs.Name), node.up(uplink)); err != nil {
		return err
	}
	down, err := router.nl.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	up, err := node.nl.LinkByName(uplink)
	if err != nil {
		return err
	}
	if err := router.nl.AddrAdd(down, &netlink.Addr{IPNet: hostNet(gateway)}); err != nil {
		return fmt.Errorf("%s: add address %v: %w", router.Name, gateway, err)
	}
	for _, a := range addrs {
		if err := node.nl.AddrAdd(up, &netlink.Addr{IPNet: hostNet(a)}); err != nil {
			return fmt.Errorf("%s: add address %v: %w", node.Name, a, err)
		}
		r := &netlink.Route{LinkIndex: down.Attrs().Index, Dst: hostNet(a), Scope: unix.RT_SCOPE_LINK}
		if err := router.nl.RouteAdd(r); err != nil {
			return fmt.Errorf("%s: add route to %v: %w", router.Name, a, err)
		}
	}
	r := &netlink.Route{LinkIndex: up.Attrs().Index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := node.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("%s: add default route via %v: %w", node.Name, gateway, err)
	}
	return nil
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
