package ident

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func identity(t *testing.T, privateHex string) *Identity {
	t.Helper()
	id, err := IdentityFromBytes(raw(t, privateHex))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// RFC 7748 section 6.1.
func TestSharedVector(t *testing.T) {
	alice, bob := identity(t, alicePrivate), identity(t, bobPrivate)
	if alice.ID() != peer(t, alicePublic) || bob.ID() != peer(t, bobPublic) {
		t.Fatalf("public keys %x and %x", alice.ID().Bytes(), bob.ID().Bytes())
	}
	for _, side := range []struct {
		id   *Identity
		peer PeerID
	}{{alice, bob.ID()}, {bob, alice.ID()}} {
		got, err := side.id.Shared(side.peer)
		if err != nil || hex.EncodeToString(got) != sharedSecret {
			t.Errorf("Shared = %x, %v; want %s", got, err, sharedSecret)
		}
	}
	if _, err := alice.Shared(PeerID{}); err == nil {
		t.Error("a secret was shared with the zero PeerID")
	}
}

func TestNewIdentity(t *testing.T) {
	id, err := NewIdentity(bytes.NewReader(raw(t, alicePrivate)))
	if err != nil || id.ID() != peer(t, alicePublic) {
		t.Fatalf("from a fixed reader: %v, %v; want Alice", id, err)
	}
	back, err := IdentityFromBytes(id.Bytes())
	if err != nil || back.ID() != id.ID() {
		t.Errorf("kept and restored: %v, %v; want %v", back, err, id)
	}
	a, err := NewIdentity(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewIdentity(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.ID() == b.ID() {
		t.Error("two new identities are the same")
	}
	if _, err := NewIdentity(strings.NewReader("too short")); err == nil {
		t.Error("a reader of 9 bytes made an identity")
	}
	if _, err := NewIdentity(iotest.ErrReader(io.ErrClosedPipe)); err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
		t.Errorf("error %v, want the reader's", err)
	}
}

func TestIdentityFromBytesRefuses(t *testing.T) {
	for _, secret := range [][]byte{nil, make([]byte, 31), make([]byte, 32), make([]byte, 33)} {
		if id, err := IdentityFromBytes(secret); err == nil {
			t.Errorf("%d zero bytes gave %v", len(secret), id)
		}
	}
}

func TestDeriveSecret(t *testing.T) {
	alice, bob := identity(t, alicePrivate), identity(t, bobPrivate)
	derive := func(id *Identity, peer PeerID, context string) string {
		t.Helper()
		key, err := DeriveSecret(id, peer, context)
		if err != nil || len(key) != 32 {
			t.Fatalf("DeriveSecret = %x, %v; want 32 bytes", key, err)
		}
		return string(key)
	}
	ab := derive(alice, bob.ID(), "punch")
	if ba := derive(bob, alice.ID(), "punch"); ab != ba {
		t.Errorf("the sides disagree: %x and %x", ab, ba)
	}
	if key, err := DeriveSecret(nil, bob.ID(), "punch"); key != nil || err == nil {
		t.Errorf("without an identity: %x, %v", key, err)
	}
	eve, err := NewIdentity(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]string{
		"another context": derive(alice, bob.ID(), "punch2"),
		"an empty one":    derive(alice, bob.ID(), ""),
		"another peer":    derive(alice, eve.ID(), "punch"),
		"a third party":   derive(eve, bob.ID(), "punch"),
		"bare X25519":     string(raw(t, sharedSecret)),
	} {
		if other == ab {
			t.Errorf("%s gives the same key", name)
		}
	}
	if _, err := DeriveSecret(alice, PeerID{}, "punch"); err == nil {
		t.Error("a key was derived with the zero PeerID")
	}
}

// TestIdentityNeverPrints is a canary: it fails as soon as any usual way of
// printing an Identity shows its key in any usual spelling.
func TestIdentityNeverPrints(t *testing.T) {
	id := identity(t, alicePrivate)
	secret := id.Bytes()
	canaries := []string{
		string(secret),
		alicePrivate,
		strings.ToUpper(alicePrivate),
		strings.Trim(fmt.Sprintf("%d", secret), "[]"), // 119 7 109 ...
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		encoding.EncodeToString(secret),
	}
	type holder struct {
		Public  *Identity
		private *Identity
		Value   Identity
		value   Identity
	}
	held := holder{id, id, *id, *id}
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%o", "%b", "% x", "%#x", "%T"} {
		for name, value := range map[string]any{"pointer": id, "value": *id, "holder": held, "holder pointer": &held, "slice": []any{id, *id}} {
			printed[verb+" "+name] = fmt.Sprintf(verb, value)
		}
	}
	for name, value := range map[string]any{"pointer": id, "holder": held} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		printed["json "+name] = string(text)
	}
	printed["print"] = fmt.Sprint(id, *id)
	printed["error"] = fmt.Errorf("cannot use %w, %v", io.EOF, id).Error()

	for how, text := range printed {
		for _, canary := range canaries {
			if strings.Contains(text, canary) {
				t.Errorf("%s shows the private key: %s", how, text)
			}
		}
	}
	if got, want := fmt.Sprintf("%v", id), "identity of "+aliceText; got != want {
		t.Errorf("%%v prints %q, want %q", got, want)
	}
}

// TestZeroIdentity: what nobody has made has no key, and says so without a panic.
func TestZeroIdentity(t *testing.T) {
	var zero Identity
	peer := identity(t, bobPrivate).ID()
	if b := zero.Bytes(); b != nil || !zero.ID().IsZero() {
		t.Errorf("the zero Identity is %v, with a key of %d bytes", zero.ID(), len(b))
	}
	if got, err := zero.Shared(peer); err == nil || got != nil {
		t.Errorf("Shared = %x, %v", got, err)
	}
	if got, err := DeriveSecret(&zero, peer, "test"); err == nil || got != nil {
		t.Errorf("DeriveSecret = %x, %v", got, err)
	}
}
