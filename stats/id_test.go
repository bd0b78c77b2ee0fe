package stats

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNewID(t *testing.T) {
	a, err := NewID(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewID(nil)
	if err != nil || a == b || a.IsZero() {
		t.Errorf("%v and %v, %v", a, b, err)
	}
	// The zero ID names nothing, so randomness that gives it is drawn from again.
	got, err := NewID(io.MultiReader(bytes.NewReader(make([]byte, 16)), strings.NewReader("0123456789abcdef")))
	if err != nil || got.String() != "30313233343536373839616263646566" {
		t.Errorf("%v, %v", got, err)
	}
	if id, err := NewID(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) || !id.IsZero() {
		t.Errorf("%v, %v", id, err)
	}
	if id, err := NewID(strings.NewReader("too short")); err == nil || !id.IsZero() {
		t.Errorf("%v, %v", id, err)
	}
}

func TestParseID(t *testing.T) {
	id, err := ParseID("0123456789abcdef0123456789abcdef")
	if err != nil || id.String() != "0123456789abcdef0123456789abcdef" {
		t.Errorf("%v, %v", id, err)
	}
	for _, text := range []string{
		"", "0", strings.Repeat("0", 32), strings.Repeat("1", 31), strings.Repeat("1", 33), strings.Repeat("g", 32),
		strings.Repeat("A", 32), " " + strings.Repeat("1", 31), "01234567-89ab-cdef-0123-456789abcdef", strings.Repeat("1", 10_000),
	} {
		if id, err := ParseID(text); err == nil || !id.IsZero() || len(err.Error()) > 300 {
			t.Errorf("%.40q is %v, %v", text, id, err)
		}
	}
}
