package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	addr4 = netip.MustParseAddrPort("192.0.2.1:32853")
	addr6 = netip.MustParseAddrPort("[2001:db8::1]:1")
)

func TestBuilderReproducesRFC5769(t *testing.T) {
	v := vectors()
	var b Builder
	b.Reset(BindingSuccess, TransactionID(v[1].raw[8:20]))
	b.AddString(AttrSoftware, "test vector")
	b.AddXORAddress(AttrXORMappedAddress, addr4)
	// The vector pads with a space, we with zero, so only what precedes the HMAC compares.
	want := bytes.Clone(v[1].raw)
	want[35] = 0
	if got := b.Bytes(); !bytes.Equal(got[HeaderSize:], want[HeaderSize:len(got)]) {
		t.Errorf("got  %x\nwant %x", got, want)
	}

	b.Reset(BindingRequest, TransactionID(v[3].raw[8:20]))
	b.AddString(AttrUsername, longTermUser)
	b.AddString(AttrNonce, "f//499k954d6OL34oL9FSTvy64sA")
	b.AddString(AttrRealm, "example.org")
	b.AddIntegrity(v[3].key)
	if got := b.Bytes(); !bytes.Equal(got, v[3].raw) {
		t.Errorf("got  %x\nwant %x", got, v[3].raw)
	}
}

func TestBuilderRoundTrip(t *testing.T) {
	var b Builder
	b.Reset(MessageType{Method: ConnectionAttempt, Class: Failure}, testID)
	b.AddXORAddress(AttrXORMappedAddress, addr6)
	b.AddAddress(AttrMappedAddress, netip.AddrPortFrom(netip.AddrFrom16(addr4.Addr().As16()), addr4.Port()))
	b.AddAddress(AttrOtherAddress, addr6)
	b.AddErrorCode(CodeUnknownAttribute, "Unknown Attribute")
	b.AddUnknownAttributes([]AttrType{0x7001, 0x30, 0x31})
	b.AddChangeRequest(true, true)
	b.AddResponsePort(7)
	b.AddPadding(9)
	b.AddUint32(AttrPriority, 1<<31)
	b.AddUseCandidate()
	b.AddUint64(AttrICEControlling, 1<<63)
	b.AddRaw(AttrPunchState, []byte{1, 2, 3, 4, 5})
	key := bytes.Repeat([]byte("long key "), 20) // longer than a block: hashed first
	b.AddIntegrity(key)
	b.AddIntegritySHA256(key)
	b.AddFingerprint()
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	m := decode(t, b.Bytes())
	if m.Type() != (MessageType{Method: ConnectionAttempt, Class: Failure}) || m.TransactionID() != testID || len(m.Raw()) != b.Len() {
		t.Errorf("header %v %v", m.Type(), m.TransactionID())
	}
	if a, ok := m.XORMappedAddress(); !ok || a != addr6 {
		t.Errorf("XOR-MAPPED-ADDRESS %v %v", a, ok)
	}
	if a, ok := m.MappedAddress(); !ok || a != addr4 {
		t.Errorf("MAPPED-ADDRESS %v %v", a, ok)
	}
	if a, ok := m.OtherAddress(); !ok || a != addr6 {
		t.Errorf("OTHER-ADDRESS %v %v", a, ok)
	}
	if code, reason, ok := m.ErrorCode(); !ok || code != 420 || string(reason) != "Unknown Attribute" {
		t.Errorf("ERROR-CODE %d %q %v", code, reason, ok)
	}
	if u := m.AppendUnknownAttributes(nil); !slices.Equal(u, []AttrType{0x7001, 0x30, 0x31}) {
		t.Errorf("UNKNOWN-ATTRIBUTES %v", u)
	}
	if ip, port, ok := m.ChangeRequest(); !ip || !port || !ok {
		t.Errorf("CHANGE-REQUEST %v %v %v", ip, port, ok)
	}
	if p, ok := m.ResponsePort(); !ok || p != 7 {
		t.Errorf("RESPONSE-PORT %v %v", p, ok)
	}
	if p, ok := m.Padding(); !ok || len(p) != 9 {
		t.Errorf("PADDING %v %v", p, ok)
	}
	if p, ok := m.Priority(); !ok || p != 1<<31 || !m.UseCandidate() {
		t.Errorf("PRIORITY %v %v", p, ok)
	}
	if v, ok := m.ICEControlling(); !ok || v != 1<<63 {
		t.Errorf("ICE-CONTROLLING %v %v", v, ok)
	}
	if v, ok := m.Get(AttrPunchState); !ok || !bytes.Equal(v, []byte{1, 2, 3, 4, 5}) {
		t.Errorf("punch state %v %v", v, ok)
	}
	if err := errors.Join(m.CheckIntegrity(key), m.CheckIntegritySHA256(key), m.CheckFingerprint()); err != nil {
		t.Error(err)
	}
	h := hmac.New(sha1.New, key)
	at := m.integrity
	signed := bytes.Clone(m.Raw()[:at])
	binary.BigEndian.PutUint16(signed[2:], uint16(at+24-HeaderSize))
	h.Write(signed)
	if v, _ := m.Get(AttrMessageIntegrity); !bytes.Equal(v, h.Sum(nil)) {
		t.Error("our HMAC differs from crypto/hmac's")
	}
	if !AttrPunchState.Optional() || AttrPunchState < 0xC000 {
		t.Error("AttrPunchState is in a range that is not ours to use")
	}
}

func TestBuilderRemembersErrors(t *testing.T) {
	big := make([]byte, 0x10000)
	for name, tt := range map[string]struct {
		add  func(b *Builder)
		want error
	}{
		"value too long":        {func(b *Builder) { b.AddRaw(AttrData, big) }, ErrTooLong},
		"longest value":         {func(b *Builder) { b.AddRaw(AttrData, big[:0xFFF8]) }, nil},
		"one too long":          {func(b *Builder) { b.AddRaw(AttrData, big[:0xFFF9]) }, ErrTooLong},
		"sum too long":          {func(b *Builder) { b.AddRaw(AttrData, big[:0xFFF8]); b.AddUseCandidate() }, ErrTooLong},
		"behind integrity":      {func(b *Builder) { b.AddIntegrity(nil); b.AddUseCandidate() }, ErrOrder},
		"integrity twice":       {func(b *Builder) { b.AddIntegrity(nil); b.AddIntegrity(nil) }, ErrOrder},
		"SHA-1 behind SHA-256":  {func(b *Builder) { b.AddIntegritySHA256(nil); b.AddIntegrity(nil) }, ErrOrder},
		"behind fingerprint":    {func(b *Builder) { b.AddFingerprint(); b.AddIntegrity(nil) }, ErrOrder},
		"no address":            {func(b *Builder) { b.AddXORAddress(AttrXORMappedAddress, netip.AddrPort{}) }, ErrAddress},
		"code too small":        {func(b *Builder) { b.AddErrorCode(299, "") }, ErrCode},
		"code too great":        {func(b *Builder) { b.AddErrorCode(700, "") }, ErrCode},
		"the first error stays": {func(b *Builder) { b.AddErrorCode(0, ""); b.AddRaw(AttrData, big) }, ErrCode},
	} {
		var b Builder
		b.Reset(BindingRequest, testID)
		tt.add(&b)
		if !errors.Is(b.Err(), tt.want) || (b.Bytes() == nil) != (tt.want != nil) {
			t.Errorf("%s: Err = %v, want %v; %d bytes", name, b.Err(), tt.want, len(b.Bytes()))
		}
		if tt.want == nil {
			decode(t, b.Bytes())
		}
		b.Reset(BindingRequest, testID)
		if b.Err() != nil || len(b.Bytes()) != HeaderSize {
			t.Errorf("%s: Reset does not forget", name)
		}
	}
	var b Builder
	b.AddUseCandidate()
	b.AddXORAddress(AttrXORMappedAddress, addr4)
	if b.Err() == nil || b.Bytes() != nil {
		t.Error("adding before Reset goes unnoticed")
	}
}

// TestBuilderLeaksNothing: padding must not carry bytes of the message before.
func TestBuilderLeaksNothing(t *testing.T) {
	var b Builder
	b.Reset(BindingRequest, testID)
	b.AddRaw(AttrData, bytes.Repeat([]byte{0xff}, 64))
	b.Reset(BindingRequest, testID)
	b.AddRaw(AttrData, []byte{1})
	b.AddErrorCode(400, "x")
	if bytes.IndexByte(b.Bytes(), 0xff) >= 0 {
		t.Errorf("old bytes in %x", b.Bytes())
	}
}

func TestTransactionIDNeedsRandomness(t *testing.T) {
	if _, err := NewTransactionID(strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("err = %v", err)
	}
	id, err := NewTransactionID(strings.NewReader("twelve bytes"))
	if err != nil || string(id[:]) != "twelve bytes" {
		t.Errorf("%s, %v", id, err)
	}
}

func TestChecksOnOneDatagramConcurrently(t *testing.T) {
	v := vectors()[0]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var m Message
			for range 200 {
				if err := v.verify(&m, v.raw); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNoAllocationWhenReused(t *testing.T) {
	v := vectors()[0]
	var (
		m       Message
		b       Builder
		unknown = make([]AttrType, 0, MaxUnknown)
		known   = []AttrType{AttrUsername, AttrPriority}
	)
	read := func() {
		err := m.Decode(v.raw)
		if err == nil {
			err = m.CheckIntegrity(v.key)
		}
		if err == nil {
			err = m.CheckFingerprint()
		}
		_, hasUser := m.Username()
		_, hasPriority := m.Priority()
		_, hasMapped := m.XORMappedAddress()
		unknown = m.AppendUnknown(unknown[:0], known)
		if err != nil || !hasUser || !hasPriority || hasMapped || m.Class() != Request || len(unknown) != 0 {
			t.Fatal(err, unknown)
		}
	}
	build := func() {
		b.Reset(BindingSuccess, testID)
		b.AddXORAddress(AttrXORMappedAddress, addr6)
		b.AddAddress(AttrMappedAddress, addr4)
		b.AddString(AttrSoftware, "test")
		b.AddErrorCode(420, "Unknown Attribute")
		b.AddUnknownAttributes(known)
		b.AddUint64(AttrICEControlled, 1)
		b.AddIntegrity(v.key)
		b.AddIntegritySHA256(v.key)
		b.AddFingerprint()
		if b.Bytes() == nil {
			t.Fatal(b.Err())
		}
	}
	for name, f := range map[string]func(){"read": read, "build": build} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkDecodeAndVerify(b *testing.B) {
	v := vectors()[0]
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := v.verify(&m, v.raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	v := vectors()[1]
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(v.raw); err != nil {
			b.Fatal(err)
		}
		if _, ok := m.XORMappedAddress(); !ok {
			b.Fatal("no address")
		}
	}
}

func BenchmarkBuildSigned(b *testing.B) {
	var w Builder
	key := []byte(shortTermPassword)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(BindingSuccess, testID)
		w.AddXORAddress(AttrXORMappedAddress, addr4)
		w.AddIntegrity(key)
		w.AddFingerprint()
		if w.Bytes() == nil {
			b.Fatal(w.Err())
		}
	}
}
