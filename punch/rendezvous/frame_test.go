package rendezvous

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFrameRoundTrip(t *testing.T) {
	id := identity(t, 1).ID()
	for _, f := range []frame{
		{Type: typePing},
		{Type: typeJoin, Room: "r"},
		{Type: typeJoin, Room: "r", Data: []byte{}}, // empty is not absent
		{Type: typeWelcome, Version: 1, Address: netip.MustParseAddrPort("[2001:db8::1]:9"), Peer: id, Proven: true},
		{Type: typeChallenge, Version: 1, Key: id, Nonce: bytes.Repeat([]byte{7}, nonceSize)},
		{Type: typeError, Code: CodeNoPeer, Reason: "no \u2028 <such> peer", Peer: id},
	} {
		got, err := decodeFrame(f.encode())
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%s came back as %+v, %v", f.encode(), got, err)
		}
	}
}

// The largest message, with every name at its longest, still makes a frame.
func TestLargestMessageFits(t *testing.T) {
	f := frame{Type: typePaired, Room: strings.Repeat("r", MaxRoom), Peer: identity(t, 1).ID(), Proven: true, Data: make([]byte, MaxMessage)}
	if n := len(f.encode()); n > maxFrame {
		t.Errorf("it has %d bytes, more than %d", n, maxFrame)
	}
}

func TestCloseBody(t *testing.T) {
	for reason, want := range map[string]string{
		"":                        "",
		"why":                     "why",
		"a\xffb":                  "a?b",
		strings.Repeat("x", 200):  strings.Repeat("x", 123),
		strings.Repeat("é", 100):  strings.Repeat("é", 61),
		strings.Repeat("\xff", 9): "?",
	} {
		body := AppendClose(nil, CodeIdle, reason)
		got := ParseClose(body)
		if got.Code != CodeIdle || got.Reason != want || len(body) > 125 || !utf8.ValidString(got.Reason) {
			t.Errorf("%q came back as %v", reason, got)
		}
	}
	if ParseClose(nil) != nil || ParseClose([]byte{1}) != nil {
		t.Error("a body without a code gave one")
	}
}

func TestCodesHaveNames(t *testing.T) {
	names := map[string]Code{}
	for c := range Code(5000) {
		if c >= CodeShutdown && c <= CodeInternal || c >= CodeRoomFull && c <= CodeServerFull {
			if n := c.String(); strings.HasPrefix(n, "4") || names[n] != 0 {
				t.Errorf("code %d is called %q", c, n)
			}
			names[c.String()] = c
		}
	}
	if got := Code(4999).String(); got != "4999" {
		t.Errorf("an unknown code is called %q", got)
	}
}
