package turnclient

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/bradawl/bradawl/internal/wire"
)

// cutConn is a connection that brings a stream in pieces.
type cutConn struct {
	net.Conn
	stream, cuts []byte
	reads        int
}

func (c *cutConn) Read(b []byte) (int, error) {
	if len(c.stream) == 0 {
		return 0, io.EOF
	}
	n := len(c.stream)
	if len(c.cuts) > 0 {
		n = 1 + int(c.cuts[c.reads%len(c.cuts)])
	}
	c.reads++
	n = copy(b, c.stream[:min(n, len(c.stream))])
	c.stream = c.stream[n:]
	return n, nil
}

// outcome is what comes of a stream: messages for the loop, data for the reader, both in
// order, and how it ends.
type outcome struct {
	control, data [][]byte
	end           string
}

// throughTap reads a stream to its end, or to where it is out of step, when the machine
// gives it up. Data of one permitted peer goes past the loop.
func throughTap(t *testing.T, stream, cuts []byte) (o outcome) {
	p := newPath(1 << 12)
	from := netip.MustParseAddrPort("198.51.100.1:1000")
	p.stand(sink{}, false)
	p.permit(from.Addr(), true)
	p.bind(from, wire.MinChannel, false)
	s := newStreamTap(&cutConn{stream: stream, cuts: cuts})
	s.attach(&p, netip.AddrPort{})
	var got []byte
	buf := make([]byte, 4096)
	for o.end == "" {
		n, err := s.Read(buf)
		got = append(got, buf[:n]...)
		for err == nil {
			size, wrong := wire.StreamFrame(got)
			if wrong != nil {
				err = ErrNotTURN
			} else if size == 0 || size > len(got) {
				break
			} else {
				o.control = append(o.control, bytes.Clone(got[:size]))
				got = got[size:]
			}
		}
		if err != nil {
			o.end = err.Error()
			if len(got) > 0 && !errors.Is(err, ErrNotTURN) {
				t.Errorf("the loop was given part of a message: %x", got)
			}
		}
	}
	for len(p.read) > 0 {
		k := <-p.read
		if k.from.Addr() != from.Addr() {
			t.Errorf("data of %v, who is not permitted", k.from)
		}
		o.data = append(o.data, bytes.Clone(k.data))
	}
	return o
}

// However a stream is cut, the loop and the reader get the same of it.
func FuzzTapFraming(f *testing.F) {
	data := func(channel uint16, text string) []byte {
		b, err := wire.AppendChannelData(nil, channel, []byte(text), true)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	var b wire.Builder
	b.Reset(wire.MessageType{Method: wire.Data, Class: wire.Indication}, wire.TransactionID{})
	b.AddXORAddress(wire.AttrXORPeerAddress, netip.MustParseAddrPort("198.51.100.1:7"))
	b.AddString(wire.AttrData, "by indication")
	indication := bytes.Clone(b.Bytes())
	b.Reset(wire.MessageType{Method: wire.Refresh, Class: wire.Success}, wire.TransactionID{})
	b.AddUint32(wire.AttrLifetime, 600)
	answer := bytes.Clone(b.Bytes())
	all := slices.Concat(data(wire.MinChannel, "hello"), answer, indication, data(wire.MinChannel, ""), data(wire.MinChannel+1, "unbound"), answer)
	f.Add(all, []byte{0})
	f.Add(all, []byte{3, 0, 200, 17})
	f.Add(all[:len(all)-1], []byte{40})
	f.Add(append(bytes.Clone(all), 0xFF, 1, 2, 3, 4), []byte{2})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		if bytes.Contains(stream, []byte{0x01, 0x0B}) {
			return // a ConnectionBind success: what follows is another protocol
		}
		whole, cut := throughTap(t, bytes.Clone(stream), nil), throughTap(t, bytes.Clone(stream), cuts)
		equal := func(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }
		if !equal(whole.control, cut.control) || !equal(whole.data, cut.data) || whole.end != cut.end {
			t.Fatalf("whole: %d messages, %d datagrams, %s; cut: %d, %d, %s",
				len(whole.control), len(whole.data), whole.end, len(cut.control), len(cut.data), cut.end)
		}
	})
}
