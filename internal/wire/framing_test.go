package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func framed(t testing.TB, payloads ...[]byte) (stream []byte) {
	t.Helper()
	for _, p := range payloads {
		var err error
		if stream, err = AppendFrame(stream, p); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// cut feeds the stream in pieces and returns what comes out.
func cut(d *Deframer, pieces ...[]byte) (got [][]byte) {
	for _, piece := range pieces {
		d.Feed(piece)
		for frame, ok := d.Next(); ok; frame, ok = d.Next() {
			got = append(got, bytes.Clone(frame))
		}
	}
	return got
}

func same(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// samples are frames of the least, the greatest and other lengths.
func samples() [][]byte {
	longest := bytes.Repeat([]byte("0123456789abcdefg"), maxFrame/17+1)[:maxFrame]
	return [][]byte{{}, []byte("a"), longest, {}, {}, []byte("bc"), bytes.Repeat([]byte{0}, 256), longest, []byte("d")}
}

func TestFrame(t *testing.T) {
	if got := framed(t, nil, []byte("abc")); string(got) != "\x00\x00\x00\x03abc" {
		t.Errorf("%q", got)
	}
	if got := framed(t, make([]byte, maxFrame)); got[0] != 0xFF || got[1] != 0xFF || len(got) != 2+65535 {
		t.Errorf("the longest frame: %d bytes, header %x", len(got), got[:2])
	}
	got, err := AppendFrame([]byte("x"), make([]byte, maxFrame+1))
	if !errors.Is(err, ErrFrameTooLong) || string(got) != "x" {
		t.Errorf("65,536 bytes: %d bytes, %v", len(got), err)
	}
}

func TestFramesByteByByte(t *testing.T) {
	var pieces [][]byte
	for _, b := range framed(t, samples()...) {
		pieces = append(pieces, []byte{b})
	}
	if !same(cut(new(Deframer), pieces...), samples()) {
		t.Error("what came out is not what went in")
	}
}

func TestCoalescedFrames(t *testing.T) {
	if !same(cut(new(Deframer), framed(t, samples()...)), samples()) {
		t.Error("what came out is not what went in")
	}
	// The first half of a header at the end of a read, then the rest and more.
	stream := framed(t, []byte("ab"), []byte("cd"), []byte("ef"))
	for i := range stream {
		for j := i; j <= len(stream); j++ {
			if got := cut(new(Deframer), stream[:i], stream[i:j], stream[j:]); !same(got, [][]byte{[]byte("ab"), []byte("cd"), []byte("ef")}) {
				t.Errorf("cut at %d and %d: %q", i, j, got)
			}
		}
	}
}

func TestFramesCutAtRandom(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	stream := framed(t, samples()...)
	for run := range 200 {
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), r.IntN(1<<r.IntN(18)))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if !same(cut(new(Deframer), pieces...), samples()) {
			t.Fatalf("seed %d, run %d: what came out is not what went in", seed, run)
		}
	}
}

// What a header promises takes no memory before it comes.
func TestPromisedFramesTakeNoMemory(t *testing.T) {
	var d Deframer
	cut(&d, []byte{0xFF}, []byte{0xFF}, []byte("abc"))
	if cap(d.partial) > 64 {
		t.Errorf("%d bytes held for 5 that came", cap(d.partial))
	}
	// Whole frames are not copied at all.
	d = Deframer{}
	stream := framed(t, make([]byte, 1000), make([]byte, 1000))
	d.Feed(stream)
	frame, ok := d.Next()
	if !ok || &frame[0] != &stream[2] || cap(frame) != 1000 || d.partial != nil {
		t.Errorf("a whole frame: %t, capacity %d, %d bytes copied", ok, cap(frame), len(d.partial))
	}
}

func TestDeframerDoesNotAllocate(t *testing.T) {
	var d Deframer
	stream := framed(t, make([]byte, 1200), make([]byte, 1200), make([]byte, 100))
	buf := make([]byte, 0, 4096)
	read := func() {
		for i := 0; i < len(stream); i += 700 {
			d.Feed(stream[i:min(i+700, len(stream))])
			for _, ok := d.Next(); ok; _, ok = d.Next() {
			}
		}
		buf, _ = AppendFrame(buf[:0], stream[:1200])
	}
	read()
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFramedKindsPass: what shares a port with STUN passes through frames as it is, and
// is told apart by its first byte as on UDP (RFC 7983 section 7).
func TestFramedKindsPass(t *testing.T) {
	var b Builder
	b.Reset(MessageType{Method: Binding, Class: Request}, TransactionID{1})
	check := bytes.Clone(b.Bytes())
	payloads := [][]byte{check}
	for first := range 256 {
		payloads = append(payloads, append([]byte{byte(first)}, check[1:]...))
	}
	got := cut(new(Deframer), framed(t, payloads...))
	if !same(got, payloads) {
		t.Fatal("what came out is not what went in")
	}
	kinds := make(map[Kind]int)
	for i, frame := range got {
		if k := Classify(frame); k != Classify(payloads[i]) {
			t.Errorf("first byte %d: %v", frame[0], k)
		} else {
			kinds[k]++
		}
	}
	for kind, want := range map[Kind]int{STUN: 5, DTLS: 44, RTP: 64, TURNChannel: 16, QUIC: 112, ZRTP: 4, Bradawl: 12} {
		if kinds[kind] != want {
			t.Errorf("%d frames of %v, want %d", kinds[kind], kind, want)
		}
	}
}

// FuzzDeframer cuts a stream at places of the fuzzer's choice and compares with cutting it
// in one go by a few plain lines.
func FuzzDeframer(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(framed(f, []byte("abc"), nil, []byte("d")), []byte{1, 0, 2, 200})
	f.Add([]byte{0xFF, 0xFF, 1, 2, 3}, []byte{1, 1, 1})
	f.Add(framed(f, make([]byte, 700)), []byte{255, 1})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		var want [][]byte
		for rest := stream; len(rest) >= 2 && len(rest)-2 >= int(rest[0])<<8+int(rest[1]); {
			n := 2 + int(rest[0])<<8 + int(rest[1])
			want, rest = append(want, rest[2:n]), rest[n:]
		}
		before := bytes.Clone(stream)
		var pieces [][]byte
		rest := stream
		for _, c := range cuts {
			n := min(int(c), len(rest))
			pieces, rest = append(pieces, rest[:n:n]), rest[n:]
		}
		var d Deframer
		got := cut(&d, append(pieces, rest)...)
		if !same(got, want) {
			t.Fatalf("%d frames, want %d: %q, want %q", len(got), len(want), got, want)
		}
		if !bytes.Equal(stream, before) {
			t.Fatal("the stream was written to")
		}
		if len(d.partial) > 2+maxFrame || len(d.partial) > len(stream) {
			t.Fatalf("%d bytes held", len(d.partial))
		}
		if again := framed(t, got...); !bytes.HasPrefix(stream, again) {
			t.Fatal("framed again they differ")
		}
	})
}

func BenchmarkDeframer(b *testing.B) {
	stream := framed(b, make([]byte, 1200), make([]byte, 1200), make([]byte, 1200))
	for name, size := range map[string]int{"whole frames": len(stream), "pieces of 700 bytes": 700} {
		b.Run(name, func(b *testing.B) {
			var d Deframer
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				for i := 0; i < len(stream); i += size {
					d.Feed(stream[i:min(i+size, len(stream))])
					for _, ok := d.Next(); ok; _, ok = d.Next() {
					}
				}
			}
		})
	}
}
