package seal_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/seal"
)

const seed = 1

func identity(t testing.TB, n byte) *ident.Identity {
	t.Helper()
	id, err := ident.NewIdentity(rand.NewChaCha8([32]byte{n}))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// agree makes the keys of two peers.
func agree(t testing.TB) (a, b *seal.Keys) {
	t.Helper()
	alice, bob := identity(t, 1), identity(t, 2)
	secrets := rand.NewChaCha8([32]byte{seed})
	offer, message, err := seal.NewOffer(alice, bob.ID(), []byte("offer"), secrets)
	if err != nil {
		t.Fatal(err)
	}
	got, err := seal.Receive(bob, message, secrets)
	if err != nil || got.From != alice.ID() || string(got.Payload) != "offer" {
		t.Fatalf("%+v, %v", got, err)
	}
	answer, b, err := got.Answer([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range [][]byte{nil, make([]byte, 20), make([]byte, 200)} { // keys of low order, too
		if _, _, err := offer.Finish(forged); !errors.Is(err, seal.ErrForged) {
			t.Fatalf("answer of %d zeros: %v", len(forged), err)
		}
	}
	for i := range answer { // a forged answer changes nothing
		forged := bytes.Clone(answer)
		forged[i] ^= 1
		if _, _, err := offer.Finish(forged); !errors.Is(err, seal.ErrForged) {
			t.Fatalf("answer with byte %d changed: %v", i, err)
		}
	}
	payload, a, err := offer.Finish(answer)
	if err != nil || string(payload) != "answer" {
		t.Fatalf("%q, %v", payload, err)
	}
	return a, b
}

func TestOfferIsForOnePeerAlone(t *testing.T) {
	alice, bob, carol := identity(t, 1), identity(t, 2), identity(t, 3)
	_, message, err := seal.NewOffer(alice, bob.ID(), []byte("offer"), rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seal.Receive(carol, message, nil); !errors.Is(err, seal.ErrForged) {
		t.Errorf("read by another peer: %v", err)
	}
	for i := range message {
		forged := bytes.Clone(message)
		forged[i] ^= 1
		if _, err := seal.Receive(bob, forged, nil); !errors.Is(err, seal.ErrForged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if bytes.Contains(message, []byte("offer")) {
		t.Error("the payload can be read")
	}
	if _, _, err := seal.NewOffer(alice, bob.ID(), make([]byte, seal.MaxPayload+1), nil); err == nil {
		t.Error("a payload that is too long is taken")
	}
}

func TestSealedDatagrams(t *testing.T) {
	a, b := agree(t)
	for _, size := range []int{0, 1, 1200} {
		payload := bytes.Repeat([]byte{7}, size)
		sealed := a.Seal(nil, seal.Ping, 0xABCDEF, payload)
		if len(sealed) != size+seal.Overhead {
			t.Errorf("%d bytes become %d", size, len(sealed))
		}
		if index, ok := seal.Index(sealed); !ok || index != 0xABCDEF {
			t.Errorf("index %x, %v", index, ok)
		}
		if sealed[0] < 4 || sealed[0] > 15 {
			t.Errorf("first byte %d is not free in RFC 7983", sealed[0])
		}
		for i := range sealed {
			forged := bytes.Clone(sealed)
			forged[i] ^= 1 << (i % 8)
			if _, _, err := b.Open(nil, forged); err == nil {
				t.Fatalf("byte %d changed: taken", i)
			}
		}
		if _, _, err := a.Open(nil, sealed); err == nil {
			t.Error("one's own datagram, sent back, is taken")
		}
		got, kind, err := b.Open(nil, sealed)
		if err != nil || kind != seal.Ping || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes, %v, %v", len(got), kind, err)
		}
		if _, _, err := b.Open(nil, sealed); !errors.Is(err, seal.ErrReplay) {
			t.Errorf("the same again: %v", err)
		}
	}
	if _, _, err := b.Open(nil, []byte{4, 0, 0}); !errors.Is(err, seal.ErrNotSealed) {
		t.Errorf("three bytes: %v", err)
	}
}

// TestReplayWindow compares the window with a set that forgets nothing.
func TestReplayWindow(t *testing.T) {
	a, b := agree(t)
	const count = 20_000
	sealed := make([][]byte, count)
	for i := range sealed {
		sealed[i] = a.Seal(nil, seal.Data, 1, []byte{byte(i)})
	}
	random := rand.New(rand.NewPCG(seed, seed))
	taken, newest := make(map[int]bool), 0
	for range 3 * count {
		i := min(max(0, newest+random.IntN(3000)-2500), count-1)
		if random.IntN(500) == 0 {
			i = min(newest+random.IntN(4000), count-1)
		}
		_, _, err := b.Open(nil, sealed[i])
		fresh := !taken[i] && i+2048 > newest
		if (err == nil) != fresh {
			t.Fatalf("datagram %d with %d the newest: %v, want taken %v (seed %d)", i, newest, err, fresh, seed)
		}
		if err == nil {
			taken[i] = true
			newest = max(newest, i)
		}
	}
}

// TestRekey moves the keys on amid datagrams that arrive late and out of order.
func TestRekey(t *testing.T) {
	a, b := agree(t)
	var late [][]byte
	for round := range 10 {
		late = append(late, a.Seal(nil, seal.Data, 1, []byte("before")))
		a.Rekey()
		after := a.Seal(nil, seal.Data, 1, []byte("after"))
		if got, _, err := b.Open(nil, after); err != nil || string(got) != "after" {
			t.Fatalf("round %d: %q, %v", round, got, err)
		}
		// The key before still opens what was under way; older ones are gone.
		if got, _, err := b.Open(nil, late[round]); err != nil || string(got) != "before" {
			t.Fatalf("round %d, late: %q, %v", round, got, err)
		}
		forged := a.Seal(nil, seal.Data, 1, nil)
		forged[0] ^= 1 // the other phase
		if _, _, err := b.Open(nil, forged); !errors.Is(err, seal.ErrForged) {
			t.Fatalf("round %d, the phase changed: %v", round, err)
		}
	}
}

func TestSignals(t *testing.T) {
	a, b := agree(t)
	sealed := a.SealSignal([]byte("candidate"))
	if _, err := a.OpenSignal(sealed); err == nil {
		t.Error("one's own message is taken")
	}
	if got, err := b.OpenSignal(sealed); err != nil || string(got) != "candidate" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := b.OpenSignal(sealed); !errors.Is(err, seal.ErrReplay) {
		t.Errorf("the same again: %v", err)
	}
}

func TestNoAllocation(t *testing.T) {
	a, b := agree(t)
	payload, buf := make([]byte, 1200), make([]byte, 0, 1500)
	if n := testing.AllocsPerRun(100, func() {
		buf = a.Seal(buf[:0], seal.Data, 1, payload)
		if _, _, err := b.Open(buf[12:12], buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSealOpen is a datagram of 1,200 bytes sealed and opened; 28 bytes are added.
func BenchmarkSealOpen(b *testing.B) {
	x, y := agree(b)
	payload, buf := make([]byte, 1200), make([]byte, 0, 1500)
	b.ReportAllocs()
	b.SetBytes(1200)
	for b.Loop() {
		buf = x.Seal(buf[:0], seal.Data, 1, payload)
		if _, _, err := y.Open(buf[12:12], buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(seal.Overhead, "overhead-B")
}

// FuzzOpen: nothing that a stranger sends is taken, or panics.
func FuzzOpen(f *testing.F) {
	a, b := agree(f)
	f.Add(a.Seal(nil, seal.Data, 1, []byte("hello"))[:20])
	f.Add([]byte{4})
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, _, err := b.Open(nil, in); err == nil {
			t.Error("a datagram of a stranger was taken")
		}
		if _, err := b.OpenSignal(in); err == nil {
			t.Error("a message of a stranger was taken")
		}
	})
}

func FuzzReceive(f *testing.F) {
	bob := identity(f, 2)
	f.Add(make([]byte, 96))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := seal.Receive(bob, in, rand.NewChaCha8([32]byte{seed})); err == nil {
			t.Error("an offer of nobody was taken")
		}
	})
}
