package simnet

import (
	"container/heap"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// World is one simulated internet.
//
// A world that is moved by [World.Run] belongs to the goroutine that does so. One that
// moves by the clock ([World.Go]) is locked while it moves: faces, and the methods of
// World, Host, Network, Iface and NAT, may then be used from any goroutine, but not
// from functions that the world calls back ([Run]'s onEvent, [World.After],
// [World.OnTrace]). Those may use [Run], Runner, World.After and World.Now, which in
// turn are for them and for the function given to [World.Do].
type World struct {
	mu       sync.Mutex
	seed     uint64
	start    time.Time
	now      time.Time
	queue    eventQueue
	seq      uint64
	internet *Network
	trace    trace
	counts   struct{ private, walled4, walled6 int }
	pilot    *pilot
}

// New makes an empty world. The same seed, built and driven the same way, gives
// the same trace. Its time starts at midnight UTC of 2000-01-01 until [World.Go]
// ties it to a clock.
func New(seed uint64) *World {
	w := &World{seed: seed, start: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.now = w.start
	w.trace.init()
	w.internet = w.newNetwork("internet")
	for _, p := range publicPools {
		p := netip.MustParsePrefix(p)
		w.internet.pools = append(w.internet.pools, &pool{p, p.Addr()})
	}
	return w
}

// Seed returns the seed that New was given, for the message of a failing test.
func (w *World) Seed() uint64 { return w.seed }

// Internet is the outermost network.
func (w *World) Internet() *Network { return w.internet }

// Now is the world's time. From a callback use the time that it is handed, or this.
func (w *World) Now() time.Time { return w.now }

// Elapsed is how long the world has run.
func (w *World) Elapsed() time.Duration { return w.now.Sub(w.start) }

// Rand returns a source of its own for whatever bears this name, so that adding
// one thing to a world does not change the luck of the others.
func (w *World) Rand(name string) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, nameHash(name)))
}

// Secrets returns a reader of reproducible bytes, for machines that want secrets
// and transaction IDs. Each name has its own.
func (w *World) Secrets(name string) io.Reader {
	var seed [32]byte
	r := w.Rand("secrets of " + name)
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	return rand.NewChaCha8(seed)
}

func nameHash(s string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, s)
	return h.Sum64()
}

// After calls fn once d of virtual time has passed, from the goroutine that moves
// the world. It may be called from callbacks.
func (w *World) After(d time.Duration, fn func()) {
	w.at(w.now.Add(max(d, 0)), fn)
}

func (w *World) at(t time.Time, fn func()) {
	w.seq++
	heap.Push(&w.queue, event{at: t, seq: w.seq, fn: fn})
	w.pilot.wake()
}

// Run moves the world forward by d.
func (w *World) Run(d time.Duration) {
	w.RunUntil(d, func() bool { return false })
}

// RunUntil moves the world forward until done reports true, which is asked after
// every event, or d has passed. It reports whether done did.
func (w *World) RunUntil(d time.Duration, done func() bool) bool {
	end := w.now.Add(d)
	for {
		if done() {
			return true
		}
		if len(w.queue) == 0 || w.queue[0].at.After(end) {
			w.now = end
			return false
		}
		w.step()
	}
}

// step takes the earliest event. Time never goes back: an event that a face left
// behind the clock happens now.
func (w *World) step() {
	e := heap.Pop(&w.queue).(event)
	if e.at.After(w.now) {
		w.now = e.at
	}
	e.fn()
}

type event struct {
	at  time.Time
	seq uint64 // breaks ties, so that order never depends on the heap
	fn  func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
