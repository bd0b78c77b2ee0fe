package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// FuzzDecode feeds arbitrary bytes. Nothing may panic or write to them, and
// what we and pion/stun both read must agree.
func FuzzDecode(f *testing.F) {
	for _, v := range vectors() {
		f.Add(v.raw, v.key)
	}
	f.Add([]byte{}, []byte{})
	f.Add(message(), []byte{})
	f.Add(message(AttrXORMappedAddress, []byte{}, AttrErrorCode, []byte{0, 0, 4}), []byte("k"))
	f.Add(message(AttrMessageIntegrity, make([]byte, 20), AttrXORMappedAddress, make([]byte, 8)), []byte("k"))
	f.Add(message(AttrMessageIntegritySHA256, make([]byte, 32), AttrFingerprint, make([]byte, 4)), []byte("k"))
	f.Add(message(AttrXORMappedAddress, append([]byte{0, 2}, make([]byte, 18)...)), []byte("k"))
	f.Fuzz(func(t *testing.T, data, key []byte) {
		before := bytes.Clone(data)
		var m Message
		_ = m.DecodeClassic(data)
		exercise(&m, key)
		err := m.Decode(data)
		exercise(&m, key)
		if !bytes.Equal(data, before) {
			t.Fatal("reading wrote to the datagram")
		}
		if err == nil && data[0] < 4 != IsSTUN(data) {
			t.Error("Decode and IsSTUN disagree")
		}
		Classify(data)
		if n, err := StreamFrame(data); err == nil && n > HeaderSize+0x10003 {
			t.Errorf("frame of %d bytes", n)
		}
		_, _, _ = DecodeChannelData(data)

		// pion keeps what follows the integrity attributes unless it is strict.
		theirs := stun.NewWithOptions(stun.WithStrict(true))
		theirs.Raw = bytes.Clone(data)
		theirErr := theirs.Decode()
		if err != nil {
			return // we are stricter
		}
		if theirErr != nil {
			t.Fatalf("pion refuses what we accept: %v", theirErr)
		}
		compare(t, &m, theirs, key)
	})
}

func exercise(m *Message, key []byte) {
	m.Type()
	m.TransactionID()
	m.ClassicID()
	m.XORMappedAddress()
	m.MappedAddress()
	m.OtherAddress()
	m.ErrorCode()
	m.ChangeRequest()
	m.ResponsePort()
	m.Padding()
	m.Priority()
	m.UseCandidate()
	m.ICEControlled()
	m.AppendUnknown(nil, nil)
	m.AppendUnknownAttributes(nil)
	_ = m.CheckIntegrity(key)
	_ = m.CheckIntegritySHA256(key)
	_ = m.CheckFingerprint()
}

func compare(t *testing.T, m *Message, theirs *stun.Message, key []byte) {
	if m.Type() != theirs.Type || m.TransactionID() != TransactionID(theirs.TransactionID) {
		t.Fatalf("header: %v %v, pion %v %x", m.Type(), m.TransactionID(), theirs.Type, theirs.TransactionID)
	}
	for _, a := range theirs.Attributes {
		if a.Type == AttrXORMappedAddress {
			continue // pion reads 0x8020, from an expired draft, as this one
		}
		first, _ := theirs.Attributes.Get(a.Type)
		if v, ok := m.Get(a.Type); !ok || !bytes.Equal(v, first.Value) {
			t.Fatalf("%v: %x %v, pion %x", a.Type, v, ok, first.Value)
		}
	}
	v, _ := m.Get(AttrXORMappedAddress)
	first, _ := theirs.Attributes.Get(AttrXORMappedAddress)
	// pion wants the first byte to be zero, which readers MUST ignore.
	if ours, ok := m.XORMappedAddress(); ok && v[0] == 0 && bytes.Equal(v, first.Value) {
		var x stun.XORMappedAddress
		if err := x.GetFrom(theirs); err != nil {
			t.Fatalf("pion refuses address %v: %v", ours, err)
		}
		ip, _ := netip.AddrFromSlice(x.IP)
		if want := netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)); ours != want {
			t.Fatalf("XOR-MAPPED-ADDRESS %v, pion %v", ours, want)
		}
	}
	if code, reason, ok := m.ErrorCode(); ok {
		var e stun.ErrorCodeAttribute
		if err := e.GetFrom(theirs); err != nil || int(e.Code) != code || !bytes.Equal(e.Reason, reason) {
			t.Fatalf("ERROR-CODE %d %q, pion %v %v", code, reason, e, err)
		}
	}
	ours := m.CheckIntegrity(key)
	if pion := stun.MessageIntegrity(key).Check(theirs); (ours == nil) != (pion == nil) {
		t.Fatalf("integrity: %v, pion %v", ours, pion)
	}
	ours = m.CheckFingerprint()
	if pion := stun.Fingerprint.Check(theirs); (ours == nil) != (pion == nil) {
		t.Fatalf("fingerprint: %v, pion %v", ours, pion)
	}
}

// FuzzBuild writes messages by the instructions in data, reads them back with our
// decoder and pion's, and flips one bit.
func FuzzBuild(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, []byte("key"), uint16(0))
	f.Add([]byte("\x05\x10username\x00\xff\x07"), []byte{}, uint16(99))
	f.Add(bytes.Repeat([]byte{3, 200}, 50), []byte("k"), uint16(7))
	f.Fuzz(func(t *testing.T, data, key []byte, flip uint16) {
		var b Builder
		b.Reset(BindingRequest, testID)
		type attr struct {
			t AttrType
			v []byte
		}
		var want []attr
		for rest := data; len(rest) >= 2; {
			at := AttrType(0xC000 | uint16(rest[0]))
			n := min(int(rest[1]), len(rest)-2)
			v := rest[2 : 2+n]
			rest = rest[2+n:]
			b.AddRaw(at, v)
			want = append(want, attr{at, v})
		}
		b.AddXORAddress(AttrXORMappedAddress, addr6)
		b.AddIntegrity(key)
		b.AddIntegritySHA256(key)
		b.AddFingerprint()
		raw := b.Bytes()
		if raw == nil {
			if HeaderSize+2*len(data)+200 < 0xFFFF {
				t.Fatal(b.Err())
			}
			return
		}
		var m Message
		if err := m.Decode(raw); err != nil {
			t.Fatal(err)
		}
		seen := map[AttrType]bool{}
		for _, a := range want {
			if !seen[a.t] {
				if v, ok := m.Get(a.t); !ok || !bytes.Equal(v, a.v) {
					t.Fatalf("%v: %x %v, want %x", a.t, v, ok, a.v)
				}
			}
			seen[a.t] = true
		}
		if a, _ := m.XORMappedAddress(); a != addr6 {
			t.Fatalf("address %v", a)
		}
		if m.CheckIntegrity(key) != nil || m.CheckIntegritySHA256(key) != nil || m.CheckFingerprint() != nil {
			t.Fatal("a message of our own does not verify")
		}
		theirs := &stun.Message{Raw: bytes.Clone(raw)}
		if err := theirs.Decode(); err != nil {
			t.Fatal(err)
		}
		compare(t, &m, theirs, key)

		bad := bytes.Clone(raw)
		bit := int(flip) % (8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
		if m.Decode(bad) == nil && m.CheckIntegritySHA256(key) == nil && m.CheckFingerprint() == nil {
			t.Fatalf("valid with bit %d flipped", bit)
		}
	})
}
