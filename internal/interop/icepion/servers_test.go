package icepion_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/turn/v4"
)

// servers is a STUN and TURN server of pion's on 127.0.0.1.
type servers struct {
	addr               netip.AddrPort // over UDP
	username, password string
}

// newServers runs one until the test ends. Every meeting has one of its own: one socket
// does not hold what many agents send at once.
func newServers(t *testing.T) *servers {
	t.Helper()
	conn := listenUDP(t)
	s := &servers{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), username: "user", password: "password"}
	const realm = "icepion"
	key := turn.GenerateAuthKey(s.username, realm, s.password)
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:       realm,
		AuthHandler: func(username, _ string, _ net.Addr) ([]byte, bool) { return key, username == s.username },
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"},
		}},
	})
	check(t, err)
	closeLater(t, server)
	return s
}
