package ice

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"

	"github.com/bradawl/bradawl/internal/netio"
)

// SystemInterfaces returns a function that says what the system knows of the interfaces
// that have an address: on Linux from the kernel, elsewhere what kind of interface usually
// has such a name. An application that knows more may call it and change the result.
//
// Loss is that of the packets since the call before, once there are a thousand; at first
// that of all since the interface is there. Network is the kind of the interface and a
// keyed hash of the default gateway's addresses, or of the interface's own networks where no
// gateway is known, so that neither an address nor the name of a Wi-Fi can be read from
// it. secret is the hash's key: the same for as long as a [History] lasts, and known to
// nobody else. nil: random, which is right for a history in memory.
//
// The function is safe for concurrent use. It reads some files for each interface: it is
// not for a loop that must not wait. It fails where the system refuses to enumerate
// interfaces, as Android does.
func SystemInterfaces(secret []byte) func() ([]InterfaceInfo, error) {
	return interfaces(secret, netio.SystemLinks)
}

func interfaces(secret []byte, list netio.LinkLister) func() ([]InterfaceInfo, error) {
	key := bytes.Clone(secret)
	if key == nil {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails
	}
	var mu sync.Mutex
	meters := make(map[string]lossMeter)
	return func() ([]InterfaceInfo, error) {
		links, err := list()
		if err != nil {
			return nil, fmt.Errorf("ice: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		fresh := make(map[string]lossMeter, len(links)) // without interfaces that are gone
		infos := make([]InterfaceInfo, len(links))
		for i, l := range links {
			m := meters[l.Name]
			m.update(l.Packets, l.Lost)
			fresh[l.Name] = m
			infos[i] = InterfaceInfo{
				Name:    l.Name,
				Network: networkID(key, l),
				Kind:    linkKinds[l.Kind],
				Down:    !l.Up,
				Speed:   l.Speed,
				Loss:    m.loss,
				Signal:  Reading{l.Signal, l.SignalKnown},
			}
		}
		meters = fresh
		return infos, nil
	}
}

var linkKinds = map[netio.LinkKind]InterfaceKind{
	netio.LinkWired:    Wired,
	netio.LinkWiFi:     WiFi,
	netio.LinkCellular: Cellular,
	netio.LinkVPN:      VPN,
	netio.LinkVirtual:  Virtual,
}

// lossMeter turns counters that only grow into a loss.
type lossMeter struct {
	packets, lost uint64 // as they were when loss was made
	loss          Reading
}

// enoughPackets is how many packets it takes for a loss to be more than chance.
const enoughPackets = 1000

func (m *lossMeter) update(packets, lost uint64) {
	if packets < m.packets || lost < m.lost {
		*m = lossMeter{} // another interface of the same name
	}
	passed, failed := packets-m.packets, lost-m.lost
	if passed+failed >= enoughPackets {
		*m = lossMeter{packets, lost, Known(float64(failed) / float64(passed+failed))}
	}
}

// networkID identifies the network that an interface is in; "" where nothing tells it.
// A private gateway has the same IP address in many homes, but a link-layer address of its own.
func networkID(key []byte, l netio.LinkInfo) string {
	h := hmac.New(sha256.New, key)
	prefix := firstPrefix(l)
	switch {
	case l.GatewayMAC != "", l.Gateway.Is6(): // which is link-local, made of that address or of chance
		fmt.Fprintln(h, "gateway", l.Gateway, l.GatewayMAC)
	case l.Gateway.IsValid():
		fmt.Fprintln(h, "gateway", l.Gateway, prefix)
	case prefix.IsValid():
		fmt.Fprintln(h, "prefix", l.Name, prefix)
	default:
		return ""
	}
	return linkKinds[l.Kind].String() + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// firstPrefix prefers IPv4, whose prefixes change less often.
func firstPrefix(l netio.LinkInfo) netip.Prefix {
	for _, p := range l.Prefixes {
		if p.Addr().Is4() {
			return p
		}
	}
	if len(l.Prefixes) > 0 {
		return l.Prefixes[0]
	}
	return netip.Prefix{}
}
