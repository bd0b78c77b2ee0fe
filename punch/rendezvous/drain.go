package rendezvous

import (
	"container/heap"
	"container/list"
	"encoding/binary"
	"time"
)

const (
	// farewellEvery is the mean time between two clients that a drain sends
	// away. Each costs the next server a proof and, mostly, a TLS handshake:
	// about a millisecond.
	farewellEvery = 2 * time.Millisecond
	// pairQuiet is how long a client must have been quiet to count as done with
	// its peer. Between signing on, joining and trickling candidates is less.
	pairQuiet = 2 * time.Second
)

const shutdownReason = "the server is shutting down; sign on again, to another one if there is one"

// Shutdown closes every connection with CodeShutdown, and each that comes
// later. Calling it again does nothing.
func (s *ServerMachine) Shutdown(now time.Time) {
	s.draining, s.farewells = true, nil
	s.dropAll(CodeShutdown, shutdownReason)
	s.deliverAll(now)
}

// dropAll drops every client, signed on or not.
func (s *ServerMachine) dropAll(code Code, reason string) {
	for _, l := range []*list.List{&s.halfOpen, &s.signedOn} {
		for c := oldest(l); c != nil; c = oldest(l) {
			s.drop(c, code, reason)
		}
	}
}

// Drain is a Shutdown that takes its time: connections that have not signed on
// are closed at once, each client at a random time. All of these lie within the
// first three quarters of within, at 2 ms a client if that is enough. A client
// that was at a pairing in the last two seconds (signed on, joined, updated, sent,
// was paired, was sent something) is put off until it has been quiet for so
// long; at now+within everybody goes. Clients that stay yet are served as ever.
//
// While a Drain or after a Shutdown, it does nothing.
func (s *ServerMachine) Drain(now time.Time, within time.Duration) {
	switch {
	case s.draining:
		return
	case within <= 0:
		s.Shutdown(now)
		return
	}
	s.draining, s.drainEnd = true, now.Add(within)
	for c := oldest(&s.halfOpen); c != nil; c = oldest(&s.halfOpen) {
		s.drop(c, CodeShutdown, shutdownReason)
	}
	n := s.signedOn.Len()
	over := min(float64(n)*float64(farewellEvery), float64(within)*3/4)
	s.farewells = make(farewells, 0, n)
	for e := s.signedOn.Front(); e != nil; e = e.Next() {
		c := e.Value.(*client)
		// The second half of the nonce is as good a random number as any.
		random := float64(binary.BigEndian.Uint64(c.nonce[nonceSize/2:])) / (1 << 64)
		s.farewells = append(s.farewells, farewell{now.Add(time.Duration(random * over)), c})
	}
	heap.Init(&s.farewells)
	s.deliverAll(now)
}

// sendAway closes the connections whose time has come.
func (s *ServerMachine) sendAway(now time.Time) {
	for len(s.farewells) > 0 && due(s.farewells[0].at, now) {
		f := &s.farewells[0]
		quiet := f.client.busy.Add(pairQuiet)
		switch {
		case f.client.state == stateGone:
			heap.Pop(&s.farewells)
		case quiet.After(now) && s.drainEnd.After(now):
			f.at = quiet
			if quiet.After(s.drainEnd) {
				f.at = s.drainEnd
			}
			heap.Fix(&s.farewells, 0)
		default:
			s.drop(f.client, CodeShutdown, shutdownReason)
			heap.Pop(&s.farewells)
		}
	}
}

// farewell is when a client is to be sent away.
type farewell struct {
	at     time.Time
	client *client
}

// farewells is a heap of them; the first one is due first.
type farewells []farewell

func (h farewells) Len() int           { return len(h) }
func (h farewells) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h farewells) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *farewells) Push(x any)        { *h = append(*h, x.(farewell)) }
func (h *farewells) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = farewell{}
	*h = (*h)[:last]
	return f
}
