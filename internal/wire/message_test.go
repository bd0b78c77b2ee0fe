package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
)

var testID = TransactionID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// message assembles a message by hand from attributes given as type and value.
func message(attrs ...any) []byte {
	b := make([]byte, HeaderSize)
	binary.BigEndian.PutUint16(b, BindingSuccess.Value())
	binary.BigEndian.PutUint32(b[4:], MagicCookie)
	copy(b[8:], testID[:])
	for i := 0; i < len(attrs); i += 2 {
		v := attrs[i+1].([]byte)
		b = binary.BigEndian.AppendUint16(b, uint16(attrs[i].(AttrType)))
		b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
		b = append(b, v...)
		b = append(b, make([]byte, padded(len(v))-len(v))...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-HeaderSize))
	return b
}

func decode(t *testing.T, b []byte) *Message {
	t.Helper()
	m := new(Message)
	if err := m.Decode(b); err != nil {
		t.Fatalf("Decode(%x): %v", b, err)
	}
	return m
}

func TestDecodeRefuses(t *testing.T) {
	good := message(AttrSoftware, []byte("abc"))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrNotSTUN},
		{"short header", good[:19], ErrNotSTUN},
		{"top bit", edit(func(b []byte) []byte { b[0] |= 0x80; return b }), ErrNotSTUN},
		{"second bit", edit(func(b []byte) []byte { b[0] |= 0x40; return b }), ErrNotSTUN},
		{"cookie", edit(func(b []byte) []byte { b[7]++; return b }), ErrNotSTUN},
		{"length too great", edit(func(b []byte) []byte { b[3] += 4; return b }), ErrMalformed},
		{"length too small", edit(func(b []byte) []byte { b[3] -= 4; return b }), ErrMalformed},
		{"length odd", edit(func(b []byte) []byte { b[3]++; return append(b, 0) }), ErrMalformed},
		{"bytes behind", append(bytes.Clone(good), 0, 0, 0, 0), ErrMalformed},
		{"attribute longer than message", edit(func(b []byte) []byte { b[23] = 5; return b }), ErrMalformed},
		{"attribute longest", edit(func(b []byte) []byte { b[22], b[23] = 0xff, 0xff; return b }), ErrMalformed},
		{"behind fingerprint", message(AttrFingerprint, make([]byte, 4), AttrSoftware, []byte("abc")), ErrMalformed},
		{"two fingerprints", message(AttrFingerprint, make([]byte, 4), AttrFingerprint, make([]byte, 4)), ErrMalformed},
	}
	var m Message
	for _, tt := range tests {
		if err := m.Decode(good); err != nil {
			t.Fatal(err)
		}
		if err := m.Decode(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: Decode = %v, want %v", tt.name, err, tt.want)
		}
		if m.Has(AttrSoftware) || m.Raw() != nil || m.IsResponse() || m.TransactionID() != (TransactionID{}) {
			t.Errorf("%s: the message before is still visible", tt.name)
		}
	}
}

// TestNothingBehindIntegritySurfaces is RFC 8489 sections 14.5 and 14.6: what
// follows the integrity attributes is not protected and MUST be ignored.
func TestNothingBehindIntegritySurfaces(t *testing.T) {
	key := []byte("key")
	forged := []byte{0, 1, 0x21, 0x13, 0x21 ^ 203, 0x12, 0xa4 ^ 113, 0x42 ^ 66}
	sign := func(add func(b *Builder), sha2 bool) []byte {
		var b Builder
		b.Reset(BindingSuccess, testID)
		b.AddString(AttrSoftware, "real")
		add(&b)
		raw := bytes.Clone(b.Bytes())
		t1 := []byte{0, 0x20, 0, 8}
		raw = append(append(raw, t1...), forged...)
		raw = append(raw, 0, 7, 0, 0) // an unknown required attribute, hidden as well
		binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)-HeaderSize))
		if sha2 { // MESSAGE-INTEGRITY-SHA256 still counts behind MESSAGE-INTEGRITY
			at := len(raw)
			raw = append(raw, 0, 0x1c, 0, 32)
			raw = append(raw, make([]byte, 32)...)
			binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)-HeaderSize))
			var c mac
			copy(raw[at+4:], c.sha256(key, raw, at))
		}
		return raw
	}
	for name, raw := range map[string][]byte{
		"behind MI":        sign(func(b *Builder) { b.AddIntegrity(key) }, false),
		"behind MI-SHA256": sign(func(b *Builder) { b.AddIntegritySHA256(key) }, false),
		"between the two":  sign(func(b *Builder) { b.AddIntegrity(key) }, true),
	} {
		m := decode(t, raw)
		if a, ok := m.XORMappedAddress(); ok || m.Has(AttrXORMappedAddress) {
			t.Errorf("%s: forged address %v surfaces", name, a)
		}
		if u := m.AppendUnknown(nil, nil); len(u) != 0 {
			t.Errorf("%s: hidden attributes count as unknown: %v", name, u)
		}
		if got, _ := m.Get(AttrSoftware); string(got) != "real" {
			t.Errorf("%s: Software = %q", name, got)
		}
		if m.Has(AttrMessageIntegrity) && m.CheckIntegrity(key) != nil {
			t.Errorf("%s: MESSAGE-INTEGRITY does not verify", name)
		}
		if m.Has(AttrMessageIntegritySHA256) && m.CheckIntegritySHA256(key) != nil {
			t.Errorf("%s: MESSAGE-INTEGRITY-SHA256 does not verify", name)
		}
	}
	// MESSAGE-INTEGRITY behind MESSAGE-INTEGRITY-SHA256 is one of the attributes to ignore.
	m := decode(t, message(AttrMessageIntegritySHA256, make([]byte, 32), AttrMessageIntegrity, make([]byte, 20)))
	if m.CheckIntegrity(key) != ErrNoIntegrity {
		t.Error("MESSAGE-INTEGRITY behind MESSAGE-INTEGRITY-SHA256 is honoured")
	}
}

// TestGettersWithAnyLength gives every typed getter values of every small length.
func TestGettersWithAnyLength(t *testing.T) {
	right := map[AttrType][]int{
		AttrXORMappedAddress: {8, 20}, AttrMappedAddress: {8, 20}, AttrXORPeerAddress: {8, 20},
		AttrXORRelayedAddress: {8, 20}, AttrOtherAddress: {8, 20}, AttrChangedAddress: {8, 20},
		AttrResponseOrigin: {8, 20}, AttrSourceAddress: {8, 20},
		AttrChangeRequest: {4}, AttrResponsePort: {2, 4}, AttrPriority: {4}, AttrUseCandidate: {0},
		AttrICEControlled: {8}, AttrICEControlling: {8},
	}
	get := map[AttrType]func(m *Message) bool{
		AttrXORMappedAddress:  func(m *Message) bool { _, ok := m.XORMappedAddress(); return ok },
		AttrMappedAddress:     func(m *Message) bool { _, ok := m.MappedAddress(); return ok },
		AttrXORPeerAddress:    func(m *Message) bool { _, ok := m.XORPeerAddress(); return ok },
		AttrXORRelayedAddress: func(m *Message) bool { _, ok := m.XORAddress(AttrXORRelayedAddress); return ok },
		AttrOtherAddress:      func(m *Message) bool { _, ok := m.OtherAddress(); return ok },
		AttrChangedAddress:    func(m *Message) bool { _, ok := m.ChangedAddress(); return ok },
		AttrResponseOrigin:    func(m *Message) bool { _, ok := m.Address(AttrResponseOrigin); return ok },
		AttrSourceAddress:     func(m *Message) bool { _, ok := m.Address(AttrSourceAddress); return ok },
		AttrChangeRequest:     func(m *Message) bool { _, _, ok := m.ChangeRequest(); return ok },
		AttrResponsePort:      func(m *Message) bool { _, ok := m.ResponsePort(); return ok },
		AttrPriority:          func(m *Message) bool { _, ok := m.Priority(); return ok },
		AttrUseCandidate:      func(m *Message) bool { return m.UseCandidate() },
		AttrICEControlled:     func(m *Message) bool { _, ok := m.ICEControlled(); return ok },
		AttrICEControlling:    func(m *Message) bool { _, ok := m.ICEControlling(); return ok },
	}
	for attr, f := range get {
		for n := range 33 {
			v := make([]byte, n)
			if n == 8 {
				v[1] = familyIPv4
			} else if n > 8 {
				v[1] = familyIPv6
			}
			m := decode(t, message(attr, v))
			if got, want := f(m), slices.Contains(right[attr], n); got != want {
				t.Errorf("%v with %d bytes: ok = %v, want %v", attr, n, got, want)
			}
			if !m.Has(attr) {
				t.Errorf("%v with %d bytes: not found", attr, n)
			}
		}
	}
	for n := range 33 { // the checks, too, with values of any length
		m := decode(t, message(AttrMessageIntegrity, make([]byte, n), AttrMessageIntegritySHA256, make([]byte, n), AttrFingerprint, make([]byte, n)))
		if m.CheckIntegrity(nil) != ErrIntegrity || m.CheckIntegritySHA256(nil) != ErrIntegrity || m.CheckFingerprint() != ErrFingerprint {
			t.Errorf("zeros of length %d verify", n)
		}
		code, reason, ok := decode(t, message(AttrErrorCode, make([]byte, n))).ErrorCode()
		if ok {
			t.Errorf("error code %d %q from zeros", code, reason)
		}
	}
}

func TestAddressForms(t *testing.T) {
	// The first byte MUST be ignored (RFC 8489 section 14.1).
	m := decode(t, message(AttrMappedAddress, []byte{0xff, 1, 0x12, 0x34, 192, 0, 2, 1}))
	if a, ok := m.MappedAddress(); !ok || a != netip.MustParseAddrPort("192.0.2.1:4660") {
		t.Errorf("MappedAddress = %v, %v", a, ok)
	}
	// IPv4-mapped IPv6 comes out as IPv4.
	v6 := append([]byte{0, 2, 0x12, 0x34}, netip.MustParseAddr("::ffff:192.0.2.1").AsSlice()...)
	m = decode(t, message(AttrMappedAddress, v6))
	if a, ok := m.MappedAddress(); !ok || a != netip.MustParseAddrPort("192.0.2.1:4660") {
		t.Errorf("MappedAddress = %v, %v", a, ok)
	}
	for _, v := range [][]byte{{0, 2, 0, 1, 192, 0, 2, 1}, {0, 3, 0, 1, 192, 0, 2, 1}, append([]byte{0, 1, 0, 1}, make([]byte, 16)...)} {
		if a, ok := decode(t, message(AttrMappedAddress, v)).MappedAddress(); ok {
			t.Errorf("family and length at odds give %v", a)
		}
	}
}

func TestFirstOfDuplicatesCounts(t *testing.T) {
	m := decode(t, message(AttrSoftware, []byte("one"), AttrSoftware, []byte("two")))
	if v, _ := m.Get(AttrSoftware); string(v) != "one" {
		t.Errorf("Software = %q", v)
	}
}

func TestErrorCode(t *testing.T) {
	for _, tt := range []struct {
		v    []byte
		code int
		ok   bool
	}{
		{[]byte{0, 0, 4, 20, 'x'}, 420, true},
		{[]byte{0xff, 0xff, 0xfc, 1}, 401, true}, // reserved bits are ignored
		{[]byte{0, 0, 3, 0}, 300, true},
		{[]byte{0, 0, 6, 99}, 699, true},
		{[]byte{0, 0, 2, 99}, 0, false},
		{[]byte{0, 0, 7, 0}, 0, false},
		{[]byte{0, 0, 4, 100}, 0, false},
		{[]byte{0, 0, 4}, 0, false},
	} {
		code, reason, ok := decode(t, message(AttrErrorCode, tt.v)).ErrorCode()
		if code != tt.code || ok != tt.ok || ok && !bytes.Equal(reason, tt.v[4:]) {
			t.Errorf("%v: %d %q %v", tt.v, code, reason, ok)
		}
	}
}

func TestUnknownAttributesAreFoundAndBounded(t *testing.T) {
	m := decode(t, message(AttrType(0x7001), []byte{}, AttrUsername, []byte("u"), AttrType(0x7001), []byte{1},
		AttrType(0x0030), []byte{1, 2, 3}, AttrType(0x8fff), []byte{9}, AttrMessageIntegrity, make([]byte, 20)))
	got := m.AppendUnknown([]AttrType{1}, []AttrType{AttrUsername})
	if want := []AttrType{1, 0x7001, 0x0030}; !slices.Equal(got, want) {
		t.Errorf("AppendUnknown = %v, want %v", got, want)
	}

	var many []any
	for i := range 100 {
		many = append(many, AttrType(0x7000+i), []byte{})
	}
	if got := decode(t, message(many...)).AppendUnknown(nil, nil); len(got) != MaxUnknown {
		t.Errorf("%d unknown attributes listed, want %d", len(got), MaxUnknown)
	}
	list := decode(t, message(AttrUnknownAttributes, []byte{0x70, 1, 0, 0x30, 5})).AppendUnknownAttributes(nil)
	if want := []AttrType{0x7001, 0x0030}; !slices.Equal(list, want) {
		t.Errorf("AppendUnknownAttributes = %v, want %v", list, want)
	}
}

func TestClassic(t *testing.T) {
	id := [16]byte{0xaa, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	var b Builder
	b.ResetClassic(BindingRequest, id)
	b.AddChangeRequest(true, false)
	var m Message
	if err := m.Decode(b.Bytes()); !errors.Is(err, ErrNotSTUN) {
		t.Errorf("Decode = %v, want ErrNotSTUN", err)
	}
	if err := m.DecodeClassic(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	ip, port, ok := m.ChangeRequest()
	if m.ClassicID() != id || m.Type() != BindingRequest || !ip || port || !ok {
		t.Errorf("id %x, type %v, change %v %v %v", m.ClassicID(), m.Type(), ip, port, ok)
	}
	if err := m.DecodeClassic(message()); !errors.Is(err, ErrNotSTUN) {
		t.Errorf("DecodeClassic of a message with a cookie = %v", err)
	}
	if err := m.Decode(message()); err != nil {
		t.Errorf("Decode after DecodeClassic: %v", err)
	}
}

func TestZeroMessageIsEmpty(t *testing.T) {
	var m Message
	if _, ok := m.XORMappedAddress(); ok || m.Has(AttrFingerprint) || m.Type() != (MessageType{}) || m.IsResponse() {
		t.Error("the zero Message has content")
	}
	if m.CheckIntegrity(nil) != ErrNoIntegrity || m.CheckFingerprint() != ErrNoFingerprint {
		t.Error("the zero Message passes a check")
	}
}
