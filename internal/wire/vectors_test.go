package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

const shortTermPassword = "VOkJxbRl1RmTxUk/WvJxBt"

// longTermUser is the user name of RFC 5769 section 2.4 and RFC 8489 appendix B.1.
const longTermUser = "\u30DE\u30C8\u30EA\u30C3\u30AF\u30B9"

type vector struct {
	name        string
	raw         []byte
	key         []byte
	fingerprint bool
	check       func(t *testing.T, m *Message)
}

// vectors are those of RFC 5769.
func vectors() []vector {
	mapped := func(want string) func(*testing.T, *Message) {
		return func(t *testing.T, m *Message) {
			if got, ok := m.XORMappedAddress(); !ok || got != netip.MustParseAddrPort(want) {
				t.Errorf("XORMappedAddress = %v, %v, want %s", got, ok, want)
			}
			if got, _ := m.Get(AttrSoftware); string(got) != "test vector" {
				t.Errorf("Software = %q", got)
			}
			if m.Type() != BindingSuccess || !m.IsResponse() {
				t.Errorf("Type = %v", m.Type())
			}
		}
	}
	return []vector{
		{
			name: "2.1 request", key: []byte(shortTermPassword), fingerprint: true,
			raw: unhex(`00010058 2112a442 b7e7a701 bc34d686 fa87dfae
				80220010 5354554e 20746573 7420636c 69656e74
				00240004 6e0001ff 80290008 932ff9b1 51263b36
				00060009 6576746a 3a683676 59202020
				00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
				80280004 e57a3bcf`),
			check: func(t *testing.T, m *Message) {
				if got, _ := m.Username(); string(got) != "evtj:h6vY" {
					t.Errorf("Username = %q", got)
				}
				if got, _ := m.Get(AttrSoftware); string(got) != "STUN test client" {
					t.Errorf("Software = %q", got)
				}
				if got, ok := m.Priority(); !ok || got != 0x6e0001ff {
					t.Errorf("Priority = %x, %v", got, ok)
				}
				if got, ok := m.ICEControlled(); !ok || got != 0x932ff9b151263b36 {
					t.Errorf("ICEControlled = %x, %v", got, ok)
				}
				if _, ok := m.ICEControlling(); ok || m.UseCandidate() {
					t.Error("attributes found that are not there")
				}
				if got := m.TransactionID().String(); got != "b7e7a701bc34d686fa87dfae" {
					t.Errorf("TransactionID = %s", got)
				}
			},
		},
		{
			name: "2.2 IPv4 response", key: []byte(shortTermPassword), fingerprint: true,
			raw: unhex(`0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
				8022000b 74657374 20766563 746f7220
				00200008 0001a147 e112a643
				00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
				80280004 c07d4c96`),
			check: mapped("192.0.2.1:32853"),
		},
		{
			name: "2.3 IPv6 response", key: []byte(shortTermPassword), fingerprint: true,
			raw: unhex(`01010048 2112a442 b7e7a701 bc34d686 fa87dfae
				8022000b 74657374 20766563 746f7220
				00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
				00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
				80280004 c8fb0b4c`),
			check: mapped("[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
		},
		{
			name: "2.4 long-term request", key: LongTermKey(longTermUser, "example.org", "TheMatrIX"),
			raw: unhex(`00010060 2112a442 78ad3433 c6ad72c0 29da412e
				00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
				0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
				0014000b 6578616d 706c652e 6f726700
				00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666`),
			check: func(t *testing.T, m *Message) {
				if got, _ := m.Username(); string(got) != longTermUser {
					t.Errorf("Username = %q", got)
				}
				if got, _ := m.Realm(); string(got) != "example.org" {
					t.Errorf("Realm = %q", got)
				}
				if got, _ := m.Nonce(); string(got) != "f//499k954d6OL34oL9FSTvy64sA" {
					t.Errorf("Nonce = %q", got)
				}
			},
		},
	}
}

// verify is what a receiver does that knows the key.
func (v vector) verify(m *Message, raw []byte) error {
	if err := m.Decode(raw); err != nil {
		return err
	}
	if err := m.CheckIntegrity(v.key); err != nil {
		return err
	}
	if v.fingerprint {
		return m.CheckFingerprint()
	}
	return nil
}

func TestRFC5769Vectors(t *testing.T) {
	var m Message
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			slack := append(bytes.Clone(v.raw), make([]byte, 64)...)
			before := bytes.Clone(slack)
			if err := v.verify(&m, slack[:len(v.raw)]); err != nil {
				t.Fatal(err)
			}
			v.check(t, &m)
			if !bytes.Equal(slack, before) {
				t.Error("verifying wrote to the datagram or behind it")
			}
			if m.CheckIntegrity([]byte("another key")) != ErrIntegrity {
				t.Error("another key verifies")
			}
			if m.CheckIntegritySHA256(v.key) != ErrNoIntegrity {
				t.Error("a missing MESSAGE-INTEGRITY-SHA256 is not told")
			}
			if !v.fingerprint && m.CheckFingerprint() != ErrNoFingerprint {
				t.Error("a missing FINGERPRINT is not told")
			}
			for bit := range 8 * len(v.raw) {
				bad := bytes.Clone(v.raw)
				bad[bit/8] ^= 0x80 >> (bit % 8)
				if v.verify(&m, bad) == nil {
					t.Errorf("still valid with bit %d of byte %d flipped", bit%8, bit/8)
				}
			}
		})
	}
}

// TestRFC8489VectorB1: the vector is broken as printed. Its length field says 156
// although its attributes take 136 bytes, so a strict decoder refuses it; and its
// HMAC was computed with that wrong length.
func TestRFC8489VectorB1(t *testing.T) {
	raw := unhex(`0001009c 2112a442 78ad3433 c6ad72c0 29da412e
		001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
		00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39
		46535476 79363473 41000000
		0014000b 6578616d 706c652e 6f726700
		001c0020 e4686c8f 0edeb590 13e07090 010a93ef ccbccc54 4c0a45d9 f830aa6d 6f735a01`)
	key := LongTermKeySHA256(longTermUser, "example.org", "TheMatrIX")
	const covered = HeaderSize + 36 + 48 + 16
	var m Message
	if err := m.Decode(raw); !errors.Is(err, ErrMalformed) {
		t.Errorf("Decode = %v, want ErrMalformed", err)
	}
	h := hmac.New(sha256.New, key)
	h.Write(raw[:covered])
	if !bytes.Equal(h.Sum(nil), raw[covered+attrHeaderSize:]) {
		t.Error("the HMAC over the bytes as printed does not match")
	}

	// The same request with a right length, signed by us, is fine.
	var b Builder
	b.Reset(BindingRequest, TransactionID(raw[8:20]))
	b.AddRaw(AttrUserhash, raw[24:56])
	b.AddString(AttrNonce, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
	b.AddString(AttrRealm, "example.org")
	if !bytes.Equal(b.Bytes()[HeaderSize:], raw[HeaderSize:covered]) {
		t.Error("the Builder writes the attributes of the vector differently")
	}
	b.AddIntegritySHA256(key)
	if err := m.Decode(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := m.CheckIntegritySHA256(key); err != nil {
		t.Error(err)
	}
	if m.CheckIntegritySHA256([]byte("another")) != ErrIntegrity {
		t.Error("another key verifies")
	}
	if m.CheckIntegrity(key) != ErrNoIntegrity {
		t.Error("MESSAGE-INTEGRITY-SHA256 passes for MESSAGE-INTEGRITY")
	}
}
