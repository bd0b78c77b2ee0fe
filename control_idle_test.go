package bradawl

import (
	"runtime"
	"testing"
	"time"
)

// TestIdlePeers measures what a connection with paths of its own costs without traffic, as
// the first one to a peer has, and in plaintext each.
func TestIdlePeers(t *testing.T) {
	const count = maxLinks - 2
	w := newWorld(t, 1, "", "", append([]func(*worldOptions){func(o *worldOptions) {
		o.config = func(c *controlConfig) { c.plaintext = true }
	}}, cones...)...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	before := heapInUse()
	for range count {
		a.dialTo(b)
		w.Run(100 * time.Millisecond)
	}
	w.Run(time.Minute)
	if len(a.conns) != count+1 || len(b.conns) != count+1 {
		w.fail("%d and %d connections", len(a.conns), len(b.conns))
	}
	for _, p := range w.peers {
		p.events, p.over, p.conns2, p.record = nil, nil, nil, nil
	}
	each := (heapInUse() - before) / (2 * count)
	t.Logf("an idle connection has %d bytes", each)
	if each > 13<<10 {
		t.Errorf("more than 13 KiB")
	}
	runtime.KeepAlive(w)
}

// furtherIdle makes count connections on one link, and returns what each costs while idle.
func furtherIdle(t testing.TB, count int) uint64 {
	w := newWorld(t, 1, "", "", cones...)
	w.connect(PathDirect)
	a, b := w.peers[0], w.peers[1]
	w.Run(time.Minute)
	before := heapInUse()
	for range count {
		a.dialTo(b)
		w.Run(10 * time.Millisecond)
	}
	w.Run(time.Minute)
	if len(a.standing()) != count+1 || len(b.standing()) != count+1 || len(a.links)+len(b.links) != 2 {
		w.fail("%d and %d connections", len(a.conns), len(b.conns))
	}
	for _, p := range w.peers {
		p.events, p.over, p.conns2, p.record = nil, nil, nil, nil
	}
	each := (heapInUse() - before) / uint64(2*count)
	runtime.KeepAlive(w)
	return each
}

// TestFurtherIdle: a thousand connections over one link, not parallel: it measures the heap.
func TestFurtherIdle(t *testing.T) {
	each := furtherIdle(t, 1000)
	t.Logf("a further idle connection has %d bytes", each)
	if each > 2<<10 {
		t.Errorf("more than 2 KiB")
	}
}

// BenchmarkFurtherIdle tells what a further idle connection costs in memory, the shell's
// Conn not counted.
func BenchmarkFurtherIdle(b *testing.B) {
	var each uint64
	for b.Loop() {
		each = furtherIdle(b, 1000)
	}
	b.ReportMetric(float64(each), "B/conn")
}
