package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/bradawl/bradawl"
)

// mtu is what is left of a datagram for a packet in the tunnel. It is below the 1,280 bytes
// that IPv6 wants, so what goes through the tunnel is IPv4.
const mtu = bradawl.MaxDatagram - device.MessageTransportSize

// tunnel is a WireGuard interface on a session, in user space: net dials and listens on it. A
// kernel's interface, which needs its permission, comes of tun.CreateTUN("wg0", mtu) in place
// of netstack.CreateNetTUN.
type tunnel struct {
	bind   *bind
	device *device.Device
	net    *netstack.Net
}

// member is a peer as WireGuard knows it, and where it is reached.
type member struct {
	key  *ecdh.PublicKey
	id   bradawl.PeerID
	addr netip.Addr // in the tunnel
}

// newKey makes a WireGuard key. It is another one than the session's: one key, one protocol.
func newKey() (*ecdh.PrivateKey, error) { return ecdh.X25519().GenerateKey(rand.Reader) }

// newTunnel puts WireGuard on a session. It dials a peer when there is something to send.
func newTunnel(s *bradawl.Session, key *ecdh.PrivateKey, addr netip.Addr, peers ...member) (*tunnel, error) {
	tun, stack, err := netstack.CreateNetTUN([]netip.Addr{addr}, nil, mtu)
	if err != nil {
		return nil, err
	}
	t := &tunnel{bind: &bind{s: s}, net: stack}
	t.device = device.NewDevice(tun, t.bind, &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	config := fmt.Sprintf("private_key=%s\n", hex.EncodeToString(key.Bytes()))
	for _, p := range peers {
		config += fmt.Sprintf("public_key=%s\nendpoint=%s\nallowed_ip=%s/32\n", hex.EncodeToString(p.key.Bytes()), p.id, p.addr)
	}
	if err = t.device.IpcSet(config); err == nil {
		err = t.device.Up()
	}
	if err != nil {
		t.device.Close()
		return nil, err
	}
	return t, nil
}

// close ends the tunnel. The session stays.
func (t *tunnel) close() { t.device.Close() }
