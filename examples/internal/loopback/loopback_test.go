package loopback

import (
	"context"
	"errors"
	"testing"
)

func TestPair(t *testing.T) {
	p, err := Open(t.Context(), "test 1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i, s := range p.Ends {
		conn, err := s.Dial(t.Context(), p.Ends[1-i].ID())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, "test 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("with no time: %v", err)
	}
}
