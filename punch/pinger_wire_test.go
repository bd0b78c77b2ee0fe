package punch

import (
	"bytes"
	"testing"

	"github.com/bradawl/bradawl/internal/wire"
)

func TestPingWire(t *testing.T) {
	for _, c := range []struct {
		p    ping
		want []byte
	}{
		{ping{pingProbe, 0x1234, 0x89abcdef}, []byte{0x13, 0x76, 0x12, 0x34, 0x89, 0xab, 0xcd, 0xef}},
		{ping{pingAnswer, 0xffff, 0}, []byte{0x13, 0x77, 0xff, 0xff, 0, 0, 0, 0}},
	} {
		b := c.p.encode()
		if !bytes.Equal(b[:], c.want) {
			t.Errorf("%+v is % x, want % x", c.p, b, c.want)
		}
		if p, ok := decodePing(b[:]); !ok || p != c.p {
			t.Errorf("% x is %+v, %v", b, p, ok)
		}
		// Nothing that RFC 7983, RFC 9443 or the sealed datagrams claim, and in
		// ZRTP's range not the one value that ZRTP sends.
		if k := wire.Classify(b[:]); k != wire.ZRTP || b[0] == 16 {
			t.Errorf("% x counts as %v", b, k)
		}
		for name, bad := range map[string][]byte{
			"shorter": b[:7], "longer": append(b[:], 0), "empty": nil,
			"another first byte": append([]byte{0x12}, b[1:]...),
			"another kind":       append([]byte{0x13, 0x78}, b[2:]...),
		} {
			if IsPing(bad) {
				t.Errorf("%s: % x counts as a probe", name, bad)
			}
		}
	}
}
