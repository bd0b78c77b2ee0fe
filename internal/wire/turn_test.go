package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

var turnPeers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:32853"), netip.MustParseAddrPort("[2001:db8::1234]:7")}

func TestAppendSendIsWhatABuilderWrites(t *testing.T) {
	id := TransactionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, peer := range turnPeers {
		for _, df := range []bool{false, true} {
			for size := range 9 {
				payload := bytes.Repeat([]byte{0xAB}, size)
				var b Builder
				b.Reset(MessageType{Method: Send, Class: Indication}, id)
				b.AddXORAddress(AttrXORPeerAddress, peer)
				if df {
					b.AddRaw(AttrDontFragment, nil)
				}
				b.AddRaw(AttrData, payload)
				got, err := AppendSend([]byte("before"), id, peer, payload, df)
				if err != nil || !bytes.Equal(got[6:], b.Bytes()) || string(got[:6]) != "before" {
					t.Errorf("%v, %d bytes, DF %v: %x, %v; want %x", peer, size, df, got, err, b.Bytes())
				}
			}
		}
	}
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:32853")
	a, _ := AppendSend(nil, id, mapped, nil, false)
	b, _ := AppendSend(nil, id, turnPeers[0], nil, false)
	if !bytes.Equal(a, b) {
		t.Errorf("the mapped address was not unmapped: %x", a)
	}
	if _, err := AppendSend(nil, id, netip.AddrPort{}, nil, false); !errors.Is(err, ErrAddress) {
		t.Error(err)
	}
	if _, err := AppendSend(nil, id, turnPeers[1], make([]byte, 0xFFFC), false); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
}

func dataIndicationTo(peer netip.AddrPort, payload []byte, extra ...AttrType) []byte {
	var b Builder
	b.Reset(MessageType{Method: Data, Class: Indication}, TransactionID{9, 8, 7})
	b.AddRaw(AttrData, payload)
	for _, t := range extra {
		b.AddRaw(t, make([]byte, 8))
	}
	b.AddXORAddress(AttrXORPeerAddress, peer)
	return b.Bytes()
}

func TestDecodeData(t *testing.T) {
	for _, peer := range turnPeers {
		for _, payload := range []string{"", "x", "hello"} {
			from, data, ok := DecodeData(dataIndicationTo(peer, []byte(payload), AttrSoftware))
			if !ok || from != peer || string(data) != payload {
				t.Errorf("%v %q %v, want %v %q", from, data, ok, peer, payload)
			}
		}
	}
	good := dataIndicationTo(turnPeers[0], []byte("hello"))
	for name, b := range map[string][]byte{
		"required attribute": dataIndicationTo(turnPeers[0], nil, 0x7F00),
		"ICMP":               dataIndicationTo(turnPeers[0], nil, AttrICMP),
		"no peer":            good[:len(good)-12],
		"truncated":          good[:len(good)-1],
		"empty":              nil,
	} {
		if name == "no peer" {
			b = slices.Clone(b)
			b[3] -= 12
		}
		if _, _, ok := DecodeData(b); ok {
			t.Errorf("%s was taken", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { DecodeData(good) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What the quick decoder takes, the careful one takes alike.
func FuzzDecodeData(f *testing.F) {
	f.Add(dataIndicationTo(turnPeers[0], []byte("hello")))
	f.Add(dataIndicationTo(turnPeers[1], nil, AttrSoftware))
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, data, ok := DecodeData(b)
		if !ok {
			return
		}
		var m Message
		if err := m.Decode(b); err != nil {
			t.Fatal(err)
		}
		p, ok1 := m.XORPeerAddress()
		d, ok2 := m.Get(AttrData)
		if !ok1 || !ok2 || p != peer || !bytes.Equal(d, data) || m.Class() != Indication || m.Method() != Data {
			t.Fatalf("%v %q, but %v %q", peer, data, p, d)
		}
	})
}

func TestICMPInBothLayouts(t *testing.T) {
	for _, c := range []struct {
		v6         bool
		value      string
		kind, code byte
		mtu        uint32
		ok         bool
	}{
		{false, "0000030300000000", 3, 3, 0, true},    // a byte each
		{false, "0000030400000500", 3, 4, 1280, true}, //
		{false, "00000b0000000000", 11, 0, 0, true},
		{false, "0000060300000000", 3, 3, 0, true}, // 7 and 9 bits
		{false, "0000160000000000", 11, 0, 0, true},
		{true, "0000020000000500", 2, 0, 1280, true}, // a byte each: too big
		{true, "0000020000000000", 1, 0, 0, true},    // 7 and 9 bits: unreachable
		{true, "0000040000000500", 2, 0, 1280, true},
		{true, "0000010400000000", 1, 4, 0, true},
		{true, "0000030000000000", 3, 0, 0, true},
		{false, "0000080000000000", 0, 0, 0, false}, // an echo
		{false, "000003", 0, 0, 0, false},
	} {
		value, _ := hex.DecodeString(c.value)
		var b Builder
		b.Reset(MessageType{Method: Data, Class: Indication}, TransactionID{})
		b.AddRaw(AttrICMP, value)
		var m Message
		if err := m.Decode(b.Bytes()); err != nil {
			t.Fatal(err)
		}
		kind, code, mtu, ok := m.ICMP(c.v6)
		if kind != c.kind || code != c.code || mtu != c.mtu && c.ok || ok != c.ok {
			t.Errorf("%s, IPv6 %v: %d %d %d %v", c.value, c.v6, kind, code, mtu, ok)
		}
	}
}

func TestTURNAttributes(t *testing.T) {
	var b Builder
	b.Reset(MessageType{Method: Allocate, Class: Success}, TransactionID{1})
	b.AddXORAddress(AttrXORRelayedAddress, turnPeers[0])
	b.AddXORAddress(AttrXORRelayedAddress, turnPeers[1])
	b.AddAddress(AttrAlternateServer, turnPeers[1])
	b.AddAddress(AttrAlternateServer, turnPeers[0])
	b.AddChannelNumber(0x4001)
	b.AddByte(AttrRequestedTransport, ProtocolUDP)
	b.AddUint32(AttrLifetime, 600)
	b.AddRaw(AttrAddressErrorCode, append([]byte{FamilyIPv6, 0, 4, 40}, "none"...))
	var m Message
	if err := m.Decode(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if all, ok := m.AppendXORAddresses(nil, AttrXORRelayedAddress, 4); !ok || !slices.Equal(all, turnPeers) {
		t.Errorf("relayed %v", all)
	}
	if all, ok := m.AppendXORAddresses(nil, AttrXORRelayedAddress, 1); !ok || len(all) != 1 {
		t.Errorf("relayed, one: %v", all)
	}
	if all, ok := m.AppendAddresses(nil, AttrAlternateServer, 4); !ok || len(all) != 2 || all[0] != turnPeers[1] {
		t.Errorf("alternate %v", all)
	}
	if _, ok := m.AppendXORAddresses(nil, AttrLifetime, 4); ok {
		t.Error("LIFETIME was read as an address")
	}
	if n, ok := m.ChannelNumber(); n != 0x4001 || !ok {
		t.Errorf("channel %x", n)
	}
	if p, ok := m.FirstByte(AttrRequestedTransport); p != 17 || !ok {
		t.Errorf("transport %d", p)
	}
	if s, ok := m.Lifetime(); s != 600 || !ok {
		t.Errorf("lifetime %d", s)
	}
	if family, code, reason, ok := m.AddressError(); family != FamilyIPv6 || code != 440 || string(reason) != "none" || !ok {
		t.Errorf("address error %d %d %q", family, code, reason)
	}
}

func TestPasswordAlgorithms(t *testing.T) {
	var b Builder
	b.Reset(BindingRequest, TransactionID{})
	b.AddPasswordAlgorithms(AttrPasswordAlgorithms, AlgorithmMD5, AlgorithmSHA256)
	if got := hex.EncodeToString(b.Bytes()[HeaderSize+4:]); got != "0001000000020000" {
		t.Errorf("%s", got)
	}
	for value, want := range map[string][]uint16{
		"0001000000020000":              {1, 2},
		"0007000341424300000200" + "00": {7, 2}, // parameters of 3 bytes, padded
		"00070003414243":                {7},    // the padding is the attribute's
		"":                              nil,
	} {
		raw, _ := hex.DecodeString(value)
		if got, ok := ParsePasswordAlgorithms(nil, raw); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %v %v", value, got, ok)
		}
	}
	for _, value := range []string{"0001", "00010004", "00010009414243"} {
		raw, _ := hex.DecodeString(value)
		if got, ok := ParsePasswordAlgorithms(nil, raw); ok {
			t.Errorf("%s: %v", value, got)
		}
	}
}

func TestNonceCookie(t *testing.T) {
	for _, features := range []uint32{0, FeaturePasswordAlgorithms, FeatureUsernameAnonymity, 0xFFFFFF} {
		got, ok := NonceFeatures([]byte(NonceCookie(features) + "rest"))
		if got != features || !ok {
			t.Errorf("%x: %x %v", features, got, ok)
		}
	}
	if NonceCookie(FeaturePasswordAlgorithms) != "obMatJos2gAAA" {
		t.Error(NonceCookie(FeaturePasswordAlgorithms))
	}
	for _, nonce := range []string{"", "obMatJos2", "obMatJos2AA", "obMatJos3AAAA", "obMatJos2****"} {
		if _, ok := NonceFeatures([]byte(nonce)); ok {
			t.Errorf("%q has a cookie", nonce)
		}
	}
}

// RFC 8489 appendix B.1.
func TestUserHashVector(t *testing.T) {
	got := UserHash("\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9", "example.org")
	if hex.EncodeToString(got) != "4a3cf38fef6992bda952c678041"+"7da0f24819415569e60b205c46e41407f1704" {
		t.Errorf("%x", got)
	}
}
