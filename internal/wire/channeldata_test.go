package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestChannelData(t *testing.T) {
	for n := range 9 {
		payload := bytes.Repeat([]byte{7}, n)
		for _, stream := range []bool{false, true} {
			b, err := AppendChannelData([]byte("x"), 0x4001, payload, stream)
			if err != nil {
				t.Fatal(err)
			}
			b = b[1:]
			size, err := StreamFrame(b)
			if err != nil || stream && size != len(b) || !stream && len(b) != 4+n {
				t.Errorf("payload %d, stream %v: %d bytes, frame %d, %v", n, stream, len(b), size, err)
			}
			ch, got, err := DecodeChannelData(b)
			if err != nil || ch != 0x4001 || !bytes.Equal(got, payload) {
				t.Errorf("payload %d: %x %x %v", n, ch, got, err)
			}
		}
	}
}

// Messages that are written one behind the other can be told apart, whatever their length.
func TestMessageSize(t *testing.T) {
	var all []byte
	var want []int
	var b Builder
	for n := range 9 {
		all, _ = AppendChannelData(all, 0x4001, make([]byte, n), false)
		b.Reset(BindingIndication, TransactionID{})
		b.AddRaw(AttrData, make([]byte, n))
		all = append(all, b.Bytes()...)
		want = append(want, 4+n, len(b.Bytes()))
	}
	for i, n := range want {
		if got := MessageSize(all); got != n {
			t.Fatalf("message %d: %d bytes, want %d", i, got, n)
		}
		all = all[n:]
	}
	for _, b := range [][]byte{nil, {0x40}, {0, 0, 0}} {
		if got := MessageSize(b); got != max(1, len(b)) {
			t.Errorf("% x: %d", b, got)
		}
	}
}

func TestChannelDataRefuses(t *testing.T) {
	for _, b := range [][]byte{nil, {0x40, 0, 0}, {0x40, 0, 0, 1}, {0x3f, 0xff, 0, 0}, {0x50, 0, 0, 0}} {
		if _, _, err := DecodeChannelData(b); !errors.Is(err, ErrChannelData) {
			t.Errorf("%x: %v", b, err)
		}
	}
	for _, ch := range []uint16{0, 0x3fff, 0x5000} {
		if b, err := AppendChannelData(nil, ch, nil, false); !errors.Is(err, ErrChannelData) || b != nil {
			t.Errorf("channel %x: %v", ch, err)
		}
	}
	if _, err := AppendChannelData(nil, MaxChannel, make([]byte, 0x10000), false); !errors.Is(err, ErrChannelData) {
		t.Error("oversized payload accepted")
	}
}

func TestStreamFrame(t *testing.T) {
	for _, tt := range []struct {
		b    []byte
		want int
		err  error
	}{
		{[]byte{0, 1, 0}, 0, nil},
		{[]byte{0, 1, 0, 8}, 28, nil},
		{[]byte{0, 1, 0, 7}, 0, ErrNotSTUN},
		{[]byte{0x4f, 0xff, 0, 5}, 12, nil},
		{[]byte{0x50, 0, 0, 4}, 0, ErrNotSTUN},
		{[]byte("GET /"), 15, nil},
	} {
		n, err := StreamFrame(tt.b)
		if tt.b[0] == 'G' { // 0x47: in the channel range, as the RFC has it
			if err != nil {
				t.Errorf("%q: %v", tt.b, err)
			}
			continue
		}
		if n != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%x: %d, %v; want %d, %v", tt.b, n, err, tt.want, tt.err)
		}
	}
}
