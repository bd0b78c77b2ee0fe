package turnclient_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/turnclient"
)

// What is taken as a URI is written so that it is taken as the same again.
func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"turn:example.org", "turns:example.org:443?transport=tcp", "turn:[2001:db8::1]:3478?transport=udp", "turn:192.0.2.1", "TURN:::1", "turn:[::ffff:192.0.2.1%25x]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := turnclient.ParseURI(s)
		if err != nil {
			return
		}
		if again, err := turnclient.ParseURI(u.String()); err != nil || again != u || strings.ContainsAny(u.Host, "\r\n @/[]?") {
			t.Errorf("%q is %+v, written as %q: %+v, %v", s, u, u, again, err)
		}
	})
}

// answering is a connection to a proxy whose answer is known already, and comes in pieces.
type answering struct {
	net.Conn
	in    *bytes.Reader
	piece int
	out   bytes.Buffer
	taken int
}

func (a *answering) Read(b []byte) (int, error) {
	n, err := a.in.Read(b[:min(len(b), a.piece)])
	a.taken += n
	return n, err
}

func (a *answering) Write(b []byte) (int, error) { return a.out.Write(b) }

// Whatever a proxy answers: reading is bounded, what follows the header is whole, and one
// request is sent.
func FuzzProxyAnswer(f *testing.F) {
	for _, s := range []string{established + "more", "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" + established, "HTTP/1.1 200\n\nx", "\x00\x01"} {
		f.Add([]byte(s), byte(7))
	}
	f.Fuzz(func(t *testing.T, answer []byte, piece byte) {
		a := &answering{in: bytes.NewReader(answer), piece: 1 + int(piece)}
		conn, err := turnclient.RequestTunnel(a, "turn.example.org:443", nil)
		if a.taken > 17<<10 || bytes.Count(a.out.Bytes(), []byte("CONNECT")) != 1 {
			t.Errorf("%d bytes read, sent %q", a.taken, a.out.Bytes())
		}
		if err != nil {
			if len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Errorf("%q", err)
			}
			return
		}
		rest, err := io.ReadAll(conn)
		if err != nil || !bytes.HasSuffix(answer, rest) {
			t.Errorf("%q follows, %v", rest, err)
		}
	})
}

// Whatever the DNS says: few queries, few endpoints, each with a name and an address.
func FuzzResolve(f *testing.F) {
	f.Add([]byte("\x00a\x01\x10b\x02\x20c\x03"), uint64(1))
	f.Add(bytes.Repeat([]byte{0x11, 'a', 0x05}, 40), uint64(2))
	names := []string{"a.example", "b.example", "c.example", ".", "", "no name", "A.Example.", "turn.example"}
	f.Fuzz(func(t *testing.T, data []byte, s uint64) {
		records := &naptrDNS{dns: dns{addrs: map[string][]string{"a.example": {"192.0.2.1", "::"}, "c.example": {"2001:db8::1", "192.0.2.2"}}, srv: map[string][]*net.SRV{}}, naptr: map[string][]turnclient.NAPTR{}}
		for ; len(data) >= 3; data = data[3:] {
			owner, other := names[data[0]%8], names[data[1]%8]
			switch data[2] % 4 {
			case 0:
				for _, proto := range []string{"_udp", "_tcp"} {
					records.srv["_turn."+proto+"."+owner] = append(records.srv["_turn."+proto+"."+owner], &net.SRV{Target: other, Port: uint16(data[2]), Priority: uint16(data[0] >> 4), Weight: uint16(data[1] >> 4)})
				}
			case 1:
				records.srv[owner] = append(records.srv[owner], nil, &net.SRV{Target: other, Port: uint16(data[2])})
			default:
				records.naptr[owner] = append(records.naptr[owner], turnclient.NAPTR{
					Order: uint16(data[0] >> 6), Flags: []string{"", "S", "A", "U"}[data[1]>>6], Replacement: other,
					Service: []string{"RELAY:turn.udp", "RELAY:turn.tcp:turn.tls", "SIP+D2U", "relay:turn.udp:turn.dtls:"}[data[2]>>6],
				})
			}
		}
		found, err := turnclient.Config{Resolver: records, DTLS: plainDTLS}.Resolve(t.Context(), "turn:turn.example", rand.New(rand.NewPCG(s, 1)))
		if err == nil && len(found) == 0 {
			t.Error("neither a server nor an error")
		}
		if len(records.asked) > 150 || len(found) > 192 { // 16 NAPTR steps, to 8 targets each, of 12 endpoints
			t.Errorf("%d queries, %d endpoints", len(records.asked), len(found))
		}
		for _, e := range found {
			if !e.Addr.Addr().IsValid() || e.Addr.Addr().IsUnspecified() || e.Addr.Port() == 0 || e.Name != "turn.example" {
				t.Errorf("%+v", e)
			}
		}
	})
}
