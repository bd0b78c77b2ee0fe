package main

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// The game: whoever reaches the coin first has a point, and the next coin lies elsewhere.
const (
	field      = 40 // its width and height
	maxPlayers = 32 // of whom a snapshot has 141 bytes; a datagram takes bradawl.MaxDatagram, 1,200
)

type player struct {
	x, y   int16
	dx, dy int8   // where it goes, until it says otherwise
	score  uint16 // coins
	input  uint32 // the last one that was taken
	late   int    // inputs that came after a later one
	gone   bool
}

// arena is the state of the game, which only the server changes.
type arena struct {
	rand    *rand.Rand
	tick    uint32
	coin    [2]int16
	players []player
}

// join gives a new player a number: that of one who has left, if there is one.
func (a *arena) join() (id int, ok bool) {
	id = slices.IndexFunc(a.players, func(p player) bool { return p.gone })
	if id < 0 && len(a.players) == maxPlayers {
		return 0, false
	}
	if id < 0 {
		id = len(a.players)
		a.players = append(a.players, player{})
	}
	a.players[id] = player{x: a.place(), y: a.place()}
	return id, true
}

func (a *arena) place() int16 { return int16(a.rand.IntN(field)) }

// step moves everybody by one tick.
func (a *arena) step() {
	a.tick++
	for i := range a.players {
		p := &a.players[i]
		p.x = min(max(p.x+int16(p.dx), 0), field-1)
		p.y = min(max(p.y+int16(p.dy), 0), field-1)
		if !p.gone && p.x == a.coin[0] && p.y == a.coin[1] {
			p.score++
			a.coin = [2]int16{a.place(), a.place()}
		}
	}
}

// An input is its number and a direction. It is the whole of what its player wants, so one
// that is lost needs no repetition: the next one says all.
func inputBytes(number uint32, dx, dy int8) []byte {
	return append(binary.BigEndian.AppendUint32(nil, number), byte(dx), byte(dy))
}

// take takes an input, unless a later one has come before it.
func (a *arena) take(id int, b []byte) {
	if len(b) != 6 {
		return
	}
	p := &a.players[id]
	number := binary.BigEndian.Uint32(b)
	if number <= p.input {
		p.late++
		return
	}
	p.input = number
	p.dx, p.dy = sign(int16(int8(b[4]))), sign(int16(int8(b[5]))) // nobody runs faster than the others
}

func sign(n int16) int8 { return int8(min(max(n, -1), 1)) }

// snapshot is what a player sees: the whole state, so that one that is lost is made up for
// by the next.
type snapshot struct {
	tick   uint32
	input  uint32 // the last of ours that the server has taken
	me     int
	coin   [2]int16
	places [][2]int16
}

const snapshotHeader = 13

func (a *arena) snapshotBytes(id int) []byte {
	b := binary.BigEndian.AppendUint32(nil, a.tick)
	b = binary.BigEndian.AppendUint32(b, a.players[id].input)
	b = append(b, byte(id))
	b = appendPlace(b, a.coin[0], a.coin[1])
	for _, p := range a.players {
		b = appendPlace(b, p.x, p.y)
	}
	return b
}

func appendPlace(b []byte, x, y int16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(x)), uint16(y))
}

func placeOf(b []byte) [2]int16 {
	return [2]int16{int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))}
}

func parseSnapshot(b []byte) (s snapshot, ok bool) {
	if len(b) < snapshotHeader || (len(b)-snapshotHeader)%4 != 0 {
		return s, false
	}
	s = snapshot{tick: binary.BigEndian.Uint32(b), input: binary.BigEndian.Uint32(b[4:]), me: int(b[8]), coin: placeOf(b[9:])}
	for rest := b[snapshotHeader:]; len(rest) > 0; rest = rest[4:] {
		s.places = append(s.places, placeOf(rest))
	}
	return s, s.me < len(s.places)
}
