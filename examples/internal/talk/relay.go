package talk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

// relay is an address on a TURN server. The zero value is none.
type relay struct {
	client *turnclient.Client
	conn   *turnclient.Allocation
}

func (r *relay) close() {
	if r.client != nil {
		_ = r.client.Close() // the allocation goes with it
	}
}

func (r *relay) addrs() []netip.AddrPort {
	if r.conn == nil {
		return nil
	}
	return r.conn.RelayedAddrs()
}

// turnTime is how long a TURN server may take to give an address.
const turnTime = 5 * time.Second

// allocate gets an address on one of the servers. Without one a direct path may still
// do, so that only -policy relay, or a URI that cannot work, makes it a failure.
func (c *Config) allocate(ctx context.Context, servers []string, cred turnclient.Credentials) (r relay, err error) {
	if len(servers) == 0 || c.Policy == "direct" {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	r.client, err = turnclient.Dial(ctx, turnclient.Config{
		Servers: servers, Credentials: cred, LoggerFactory: c.LoggerFactory,
		ListenPacket: c.Host.ListenPacket,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.Host.Dial(ctx, network, netip.AddrPort{}, address)
		},
	})
	if err == nil {
		r.conn, err = r.client.Allocate(ctx)
	}
	if err == nil {
		return r, nil
	}
	r.close()
	var wrong *turnclient.ConfigError
	if c.Policy != "relay" && !errors.As(err, &wrong) {
		c.Note("no relay: %v", err)
		err = nil
	}
	return relay{}, err
}

// turnServers picks the TURN servers that the rendezvous hands out, with the credentials
// of the first that has any.
func turnServers(all []rendezvous.ICEServer) (uris []string, cred turnclient.Credentials) {
	for _, s := range all {
		for _, uri := range s.URIs {
			if strings.HasPrefix(uri, "turn") {
				uris = append(uris, uri)
				if cred.Username == "" {
					cred.Username, cred.Password = s.Username, s.Credential
				}
			}
		}
	}
	return uris, cred
}

// plan says what both peers' policies allow. Both sides come to the same result.
func (c *Config) plan(m *meeting) (direct, relayed bool, err error) {
	policy := func(p string) bool { return m.mine.Policy == p || m.theirs.Policy == p }
	direct = !policy("relay")
	relayed = !policy("direct") && (len(m.mine.Relay) > 0 || len(m.theirs.Relay) > 0)
	switch {
	case direct || relayed:
		return direct, relayed, nil
	case policy("direct"):
		return false, false, errors.New("one peer wants a direct path only, the other a relayed one only: give both the same -policy, or auto")
	}
	return false, false, errors.New("-policy relay, but neither peer has a relay: give -turn, or a rendezvous that hands out TURN servers")
}

// throughRelay opens a path by way of our relay to the peer's, where both have one, else
// between the one and the plain socket of the other.
func (c *Config) throughRelay(ctx context.Context, m *meeting, pc net.PacketConn) (link, Event, error) {
	proto := "udp"
	peer := m.theirs.Relay
	if m.relay.conn != nil {
		pc = m.relay.conn
		if m.relay.conn.Server().Transport != turnclient.UDP {
			proto = "tcp"
		}
		if len(peer) == 0 {
			peer = m.theirs.UDP
		}
	}
	path, err := punch.UDP(ctx, pc, punch.UDPConfig{
		Peer: peer, Secret: m.relaySecret, Timeout: -1, Loopback: c.atHome(), LoggerFactory: c.LoggerFactory,
	})
	if err != nil {
		return nil, Event{}, fmt.Errorf("by way of the relay: %w", err)
	}
	c.Note("relayed path to %s, round trip %v", path.Remote, path.RTT.Round(time.Microsecond))
	l, err := newUDPLink(pc, path)
	return l, Event{Path: "relay", Proto: proto, Local: path.Local.String(), Remote: path.Remote.String()}, err
}
