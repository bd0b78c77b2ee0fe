package portmap

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

func FuzzPCP(f *testing.F) {
	f.Add(appendMap(nil, 7200, netip.MustParseAddr("192.168.1.2"), nonce{1}, UDP, 5000, netip.MustParseAddrPort("192.0.2.1:6000")))
	f.Add(appendPCP(nil, 0x80, 0, netip.MustParseAddr("::1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := parsePCP(b)
		if !ok || !a.mapped {
			return
		}
		// What is read is what was written.
		again := appendMap(nil, a.lifetime, netip.IPv6Unspecified(), a.nonce, a.protocol, a.internal, a.external)
		if !bytes.Equal(again[24:37], b[24:37]) || !bytes.Equal(again[40:60], b[40:60]) {
			t.Errorf("%x read as %+v", b, a)
		}
	})
}

func FuzzNATPMP(f *testing.F) {
	f.Add([]byte{0, 128, 0, 0, 0, 0, 0, 9, 192, 0, 2, 1})
	f.Add([]byte{0, 129, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 28, 32})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := parsePMP(b); ok && a.result == 0 && a.opcode == pmpAddress && !a.external.Is4() {
			t.Errorf("%x read as %+v", b, a)
		}
	})
}

func FuzzSSDP(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nLOCATION: http://192.168.1.1:5000/root.xml\r\n\r\n"), "ctl")
	f.Fuzz(func(t *testing.T, b []byte, ref string) {
		gateway := netip.MustParseAddr("192.168.1.1")
		location, ok := parseSSDP(b)
		if !ok {
			return
		}
		p, err := locate(location)
		if err == nil {
			p, err = p.on(gateway)
		}
		if err == nil {
			if q, err := p.resolve(ref); err == nil {
				p = q
			}
			if p.addr.Addr() != gateway || p.addr.Port() == 0 || !plain(p.path) || p.path[0] != '/' {
				t.Errorf("%q and %q lead to %v %q", location, ref, p.addr, p.path)
			}
		}
	})
}

func FuzzDescription(f *testing.F) {
	f.Add([]byte("<root><device><service><serviceType>a</serviceType><controlURL>/b</controlURL></service></device></root>"))
	f.Add([]byte("<!DOCTYPE a><a/>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _, err := parseDescription(b)
		if len(all) > 64 {
			t.Errorf("%d services", len(all))
		}
		for _, s := range all {
			if err == nil && (s.urn == "" || s.control == "") {
				t.Errorf("%+v", s)
			}
		}
	})
}

func FuzzSOAP(f *testing.F) {
	f.Add(200, []byte("<e><b><u:xResponse xmlns:u='y'><NewReservedPort>1</NewReservedPort></u:xResponse></b></e>"))
	f.Add(500, []byte("<e><Fault><errorCode>718</errorCode><errorDescription>no</errorDescription></Fault></e>"))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		args, err := parseSOAP(status, b, "x")
		if err == nil && (status != 200 || len(args) > 64) || err != nil && err.Error() == "" {
			t.Errorf("%v, %v", args, err)
		}
	})
}

func FuzzHTTP(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), true)
	f.Add([]byte("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"), false)
	f.Fuzz(func(t *testing.T, b []byte, over bool) {
		if _, body, done, err := parseHTTP(b, over, 64); done && err == nil && len(body) > 64 {
			t.Errorf("a body of %d bytes", len(body))
		}
	})
}

// FuzzMachine gives a machine with work to do whatever comes, from the router and from
// others: it must not panic, spin, or hold more than it should.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 12, 0, 128, 0, 0, 0, 0, 0, 9, 192, 0, 2, 1, 3, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		now := time.Unix(0, 0)
		m, err := NewMachine(Config{}, rand.New(rand.NewPCG(1, 1)), rand.NewChaCha8([32]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if m.illegal != 0 {
				t.Errorf("%d steps of state that there are not", m.illegal)
			}
		}()
		gateway := netip.MustParseAddr("192.168.1.1")
		at := Gateway{gateway, netip.MustParseAddr("192.168.1.2")}
		var stream machine.StreamID
		drain := func() {
			said := 0
			machine.Drain(m, func(x machine.Transmit) {
				if said++; said > 1000 {
					t.Fatal("does not fall silent")
				}
				if x.Op == machine.Dial {
					if stream = x.Stream; x.Remote.Addr() != gateway {
						t.Fatalf("dials %v", x.Remote)
					}
				}
			}, func(Event) {})
		}
		m.SetGateways(now, []Gateway{at})
		drain()
		m.HandleNotice(now, machine.Notice{Kind: machine.SocketOpened})
		id, err := m.Map(now, Request{UDP, any4(5000), 0})
		if err != nil {
			t.Fatal(err)
		}
		drain()
		for len(script) > 1 {
			op, n := script[0], int(script[1])
			data := script[2:min(len(script), 2+n)]
			script = script[2+len(data):]
			switch op % 8 {
			case 0:
				m.HandleDatagram(now, machine.Datagram{Remote: netip.AddrPortFrom(gateway, serverPort), Data: data})
			case 1:
				m.HandleDatagram(now, machine.Datagram{Remote: netip.AddrPortFrom(gateway, 1900), Data: data})
			case 2:
				m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: stream, Data: data})
			case 3:
				now = now.Add(time.Duration(n) * time.Second)
				m.HandleTimeout(now)
			case 4:
				m.HandleNotice(now, machine.Notice{Kind: []machine.NoticeKind{machine.SocketFailed, machine.SocketOpened, machine.Closed}[n%3], Stream: stream, Err: ErrNoAnswer})
			case 5:
				m.Recheck(now)
			case 6:
				if n%2 == 0 {
					m.Unmap(now, id)
				} else if next, err := m.Map(now, Request{TCP, any4(uint16(n)), 0}); err == nil {
					id = next
				}
			case 7:
				m.SetGateways(now, []Gateway{at}[:n%2])
			}
			drain()
		}
		m.CloseAll(now)
		drain()
		for range 100 {
			if next := m.NextTimeout(); !next.IsZero() {
				now = next
				m.HandleTimeout(now)
				drain()
			}
		}
		if !m.closed || len(m.mappings) > 0 {
			t.Error("not closed in the end")
		}
	})
}

func BenchmarkPCP(b *testing.B) {
	request := appendMap(nil, 7200, netip.MustParseAddr("192.168.1.2"), nonce{1}, UDP, 5000, netip.AddrPort{})
	request[1] |= answerBit
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := parsePCP(request); !ok {
			b.Fatal("not read")
		}
	}
}

func BenchmarkDescription(b *testing.B) {
	page := []byte("<root><device>")
	for range 20 {
		page = append(page, "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/ctl</controlURL></service>"...)
	}
	page = append(page, "</device></root>"...)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if all, _, err := parseDescription(page); err != nil || len(all) != 20 {
			b.Fatal(err)
		}
	}
}
