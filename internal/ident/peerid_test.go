package ident

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// The keys of RFC 7748 section 6.1.
const (
	alicePrivate = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
	alicePublic  = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	bobPrivate   = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
	bobPublic    = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
	sharedSecret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

	// aliceText was computed with coreutils: xxd -r -p | base32, lower-cased.
	aliceText = "quqpacmjgctvi5elpxolipxxlig36oqney4bv5hlusuy5ku3jzva"
)

func peer(t *testing.T, publicHex string) PeerID {
	t.Helper()
	p, err := PeerIDFromBytes(raw(t, publicHex))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func raw(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPeerIDText(t *testing.T) {
	p := peer(t, alicePublic)
	if got := p.String(); got != aliceText {
		t.Errorf("String() = %q, want %q", got, aliceText)
	}
	if got := p.Short(); got != aliceText[:8] {
		t.Errorf("Short() = %q, want %q", got, aliceText[:8])
	}
	for _, text := range []string{aliceText, strings.ToUpper(aliceText), strings.ToUpper(aliceText[:20]) + aliceText[20:]} {
		got, err := ParsePeerID(text)
		if err != nil || got != p {
			t.Errorf("ParsePeerID(%q) = %v, %v; want %v", text, got, err, p)
		}
	}
	if !bytes.Equal(p.Bytes(), raw(t, alicePublic)) {
		t.Errorf("Bytes() = %x, want %s", p.Bytes(), alicePublic)
	}
	p.Bytes()[0]++ // a copy: p stays
	if p != peer(t, alicePublic) {
		t.Error("Bytes gives out the PeerID's own array")
	}
}

func TestParsePeerIDRefuses(t *testing.T) {
	text := func(key string) string { return encoding.EncodeToString(raw(t, key)) }
	tests := []struct{ name, text, reason string }{
		{"empty", "", "empty"},
		{"short", aliceText[:51], "51 characters"},
		{"long", aliceText + "a", "53 characters"},
		{"padding", aliceText + "====", "56 characters"},
		{"digit outside the alphabet", "1" + aliceText[1:], `'1' as character 1,`},
		{"blank", aliceText[:20] + " " + aliceText[21:], "character 21,"},
		{"line feed, which encoding/base32 skips", aliceText[:51] + "\n" + aliceText[51:], "53 characters"},
		{"line feed within", aliceText[:20] + "\n" + aliceText[21:], "character 21,"},
		{"line feed at the end", aliceText + "\n", "white space around it"},
		{"a letter that folds to k", aliceText[:49] + "\u212a", "character 50,"},
		{"trailing bits", aliceText[:51] + "b", "last character"},
		{"trailing bits, upper case", strings.ToUpper(aliceText[:51]) + "R", "last character"},
		{"zero", text(strings.Repeat("00", 32)), "low-order"},
		{"one", text("01" + strings.Repeat("00", 31)), "low-order"},
		{"p", text("ed" + strings.Repeat("ff", 30) + "7f"), "shortest form"},
		{"p+1", text("ee" + strings.Repeat("ff", 30) + "7f"), "shortest form"},
		{"top bit", text(alicePublic[:62] + "ea"), "shortest form"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePeerID(tt.text)
			var idErr *PeerIDError
			if !errors.As(err, &idErr) || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("ParsePeerID(%q) = %v, %v; want a *PeerIDError that says %q", tt.text, got, err, tt.reason)
			}
			if !got.IsZero() {
				t.Errorf("a refused text gave %v", got)
			}
		})
	}
}

// The table of low-order points is judged by the key agreement itself: with each
// of them it must fail, and with the greatest key that is none it must not.
func TestLowOrderPoints(t *testing.T) {
	private, err := ecdh.X25519().NewPrivateKey(raw(t, alicePrivate))
	if err != nil {
		t.Fatal(err)
	}
	agree := func(key []byte) error {
		public, err := ecdh.X25519().NewPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = private.ECDH(public)
		return err
	}
	for _, key := range lowOrder {
		if agree(key[:]) == nil {
			t.Errorf("%x is listed as low-order, but agrees on a secret", key)
		}
		if p, err := PeerIDFromBytes(key[:]); err == nil {
			t.Errorf("PeerIDFromBytes(%x) = %v, want an error", key, p)
		}
	}
	greatest := raw(t, "eb"+strings.Repeat("ff", 30)+"7f")
	if err := agree(greatest); err != nil {
		t.Fatal(err)
	}
	if _, err := PeerIDFromBytes(greatest); err != nil {
		t.Error(err)
	}
}

func TestPeerIDFromBytesLength(t *testing.T) {
	for _, n := range []int{0, 31, 33, 10_000} {
		_, err := PeerIDFromBytes(make([]byte, n))
		if err == nil || len(err.Error()) > 200 {
			t.Errorf("%d bytes: error %v, want a short one", n, err)
		}
	}
}

func TestPeerIDMarshal(t *testing.T) {
	type message struct {
		From PeerID            `json:"from"`
		To   PeerID            `json:"to,omitzero"`
		Seen map[PeerID]string `json:"seen"`
	}
	alice := peer(t, alicePublic)
	text, err := json.Marshal(message{From: alice, Seen: map[PeerID]string{alice: "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"from":"` + aliceText + `","seen":{"` + aliceText + `":"yes"}}`
	if string(text) != want {
		t.Errorf("JSON %s, want %s", text, want)
	}
	var back message
	if err := json.Unmarshal(text, &back); err != nil || back.From != alice || back.Seen[alice] != "yes" || !back.To.IsZero() {
		t.Errorf("read back %+v, %v", back, err)
	}
	kept := alice
	if err := kept.UnmarshalText([]byte("nobody")); err == nil || kept != alice {
		t.Errorf("a bad text: error %v, value %v; want an error and the value as it was", err, kept)
	}
	if err := kept.UnmarshalText(nil); err != nil || !kept.IsZero() {
		t.Errorf("the empty text: %v, %v; want the zero PeerID", kept, err)
	}
	if s := (PeerID{}).String() + (PeerID{}).Short(); s != "" {
		t.Errorf("the zero PeerID prints %q", s)
	}
}

func TestPeerIDCompare(t *testing.T) {
	a, b := peer(t, alicePublic), peer(t, bobPublic)
	if a.Compare(b) != -1 || b.Compare(a) != 1 || a.Compare(a) != 0 {
		t.Errorf("Compare: %d %d %d, want -1 1 0", a.Compare(b), b.Compare(a), a.Compare(a))
	}
}

func FuzzParsePeerID(f *testing.F) {
	f.Add(aliceText)
	f.Add(strings.ToUpper(aliceText))
	f.Add(strings.Repeat("7", 51) + "q")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePeerID(text)
		if err != nil {
			return
		}
		if p.String() != strings.ToLower(text) {
			t.Fatalf("%q parses, but prints %q", text, p)
		}
		if q, err := PeerIDFromBytes(p.Bytes()); err != nil || q != p {
			t.Fatalf("%q does not survive its bytes: %v, %v", text, q, err)
		}
	})
}
