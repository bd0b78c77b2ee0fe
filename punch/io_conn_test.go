package punch_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/punch"
)

// nowhere is a socket of a network that has no IP addresses.
type nowhere struct{ net.PacketConn }

func (nowhere) LocalAddr() net.Addr { return &net.UnixAddr{Name: "a-socket", Net: "unixgram"} }

// A conn that cannot be used is told in its user's words, not in those of what is within.
func TestConnThatCannotBeUsed(t *testing.T) {
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	on, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	odd := nowhere{on}
	for _, c := range []struct {
		conn net.PacketConn
		want string
	}{
		{closed, "conn is closed already; hand over one that is open"},
		{nil, "conn: is nil; open a socket by net.ListenPacket"},
		{(*net.UDPConn)(nil), "conn: is nil; open a socket by net.ListenPacket"}, // nobody looked at an error
		{odd, "conn: a-socket is no IP address with port to send from; open the socket by net.ListenPacket"},
	} {
		_, err := punch.UDP(t.Context(), c.conn, punch.UDPConfig{Secret: secret})
		var wrong *punch.ConfigError
		if err == nil || !strings.HasPrefix(err.Error(), "punch: "+c.want) || inner(err) || errors.As(err, &wrong) != (c.conn != closed) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if c.conn == closed && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v is not net.ErrClosed", err)
		}
		_, err = punch.NewPinger(c.conn, punch.PingerConfig{})
		if want := strings.TrimPrefix(strings.TrimPrefix(c.want, "conn "), "conn: "); !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), "punch: conn: "+want) || inner(err) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// inner reports whether an error has words of packages that nobody outside knows.
func inner(err error) bool {
	return strings.Contains(err.Error(), "drive") || strings.Contains(err.Error(), "netio") || strings.Contains(err.Error(), "raw-control")
}

// Where none of the peer's addresses may be probed, its own probes still make the path; without
// them the error says why nothing was sent.
func TestPathFromProbesOfThePeerAlone(t *testing.T) {
	bubble(t, func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort) {
		none := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
		_, err := punch.UDP(t.Context(), conns[0], punch.UDPConfig{Peer: none, Secret: secret})
		if want := "; 127.0.0.1:9: 0 tries, 127.0.0.1:9 is a loopback address; set Loopback"; !errors.Is(err, punch.ErrSilent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	})
	behind(t, "open", func(t *testing.T, conns [2]net.PacketConn, addrs [2]netip.AddrPort) {
		none := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}
		a := start(t.Context(), conns[0], punch.UDPConfig{Peer: none, Secret: secret})
		b := start(t.Context(), conns[1], punch.UDPConfig{Peer: addrs[:1], Secret: secret})
		x, y := <-a, <-b
		if x.error != nil || y.error != nil || !x.Learned || x.Remote != addrs[1] {
			t.Errorf("%+v, %+v", x, y)
		}
	})
}
