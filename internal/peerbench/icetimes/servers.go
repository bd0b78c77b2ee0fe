package icetimes

import (
	"net"
	"net/netip"

	"github.com/pion/turn/v4"
)

// Servers is a STUN and TURN server on 127.0.0.1.
type Servers struct {
	// Addr is where it answers both, over UDP.
	Addr netip.AddrPort
	// Username and Password are for TURN.
	Username, Password string

	server *turn.Server
}

// NewServers starts a server. Close ends it.
func NewServers() (*Servers, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &Servers{Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Username: "user", Password: "password"}
	const realm = "icetimes"
	key := turn.GenerateAuthKey(s.Username, realm, s.Password)
	s.server, err = turn.NewServer(turn.ServerConfig{
		Realm:       realm,
		AuthHandler: func(username, _ string, _ net.Addr) ([]byte, bool) { return key, username == s.Username },
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the server and its allocations.
func (s *Servers) Close() error { return s.server.Close() }
