//go:build !race

package netio

import (
	"testing"
	"time"
)

// The race detector makes pools forget at random.
func TestInboxDoesNotAllocate(t *testing.T) {
	q := NewInbox(256)
	data, b := make([]byte, 1200), make([]byte, 1500)
	q.SetReadDeadline(time.Now().Add(time.Hour))
	got := testing.AllocsPerRun(1000, func() {
		q.SetReadDeadline(time.Now().Add(time.Hour))
		for range 3 {
			q.Deliver(sender1, data)
		}
		for range 3 {
			_, _, _, _ = q.Read(b)
		}
	})
	if got >= 1 { // but for a collection that empties the pool
		t.Errorf("%v allocations", got)
	}
}
