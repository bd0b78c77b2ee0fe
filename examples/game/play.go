package main

import (
	"context"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
)

// tick is how often the state moves, and is told.
const tick = 50 * time.Millisecond

// server is the game on a session: whoever dials it plays.
type server struct {
	mu    sync.Mutex
	arena arena
	conns []*bradawl.Conn // of the players, by their number
}

// serve runs the game until ctx ends.
func (g *server) serve(ctx context.Context, s *bradawl.Session) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.run(ctx) })
	for {
		conn, err := s.Accept(ctx)
		if err != nil {
			return
		}
		g.mu.Lock()
		id, ok := g.arena.join()
		switch {
		case ok && id == len(g.conns):
			g.conns = append(g.conns, conn)
		case ok:
			g.conns[id] = conn
		}
		g.mu.Unlock()
		if !ok {
			conn.Close() // it is full
			continue
		}
		wg.Go(func() { g.listen(ctx, id, conn) })
	}
}

// listen takes a player's inputs until it leaves.
func (g *server) listen(ctx context.Context, id int, conn *bradawl.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, bradawl.MaxDatagram)
	for {
		n, err := conn.Read(buf)
		g.mu.Lock()
		if err != nil {
			g.arena.players[id].gone = true
			g.mu.Unlock()
			return
		}
		g.arena.take(id, buf[:n])
		g.mu.Unlock()
	}
}

// run moves the state at each tick, and tells everybody.
func (g *server) run(ctx context.Context) {
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
		g.mu.Lock()
		g.arena.step()
		for id, conn := range g.conns {
			_, _ = conn.Write(g.arena.snapshotBytes(id)) // it does not wait; what is lost is made up for by the next
		}
		g.mu.Unlock()
	}
}

// tally is what a player has seen of the server's snapshots.
type tally struct {
	first, last uint32 // ticks
	got         int
	late        int           // came after a later one, and were dropped
	lag         time.Duration // from an input until a snapshot that has it, the last time
}

// loss is the share of the snapshots that never came, or too late.
func (t tally) loss() float64 {
	if t.got == 0 {
		return 0
	}
	return 1 - float64(t.got)/float64(t.last-t.first+1)
}

// take counts a snapshot, and reports whether it is later than all before.
func (t *tally) take(tick uint32) bool {
	switch {
	case t.got > 0 && tick <= t.last:
		t.late++
		return false
	case t.got == 0:
		t.first = tick
	}
	t.last = tick
	t.got++
	return true
}

// play plays until the connection is over: it runs to the coin as it sees it.
func play(conn *bradawl.Conn) (t tally) {
	buf := make([]byte, bradawl.MaxDatagram)
	var number uint32
	sent := make(map[uint32]time.Time) // inputs that no snapshot had yet
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return t
		}
		s, ok := parseSnapshot(buf[:n])
		if !ok || !t.take(s.tick) {
			continue
		}
		if at, ok := sent[s.input]; ok {
			t.lag = time.Since(at)
		}
		for old := range sent {
			if old <= s.input {
				delete(sent, old)
			}
		}
		me := s.places[s.me]
		number++
		sent[number] = time.Now()
		_, _ = conn.Write(inputBytes(number, sign(s.coin[0]-me[0]), sign(s.coin[1]-me[1])))
	}
}
