package punch

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// maxLaneMessage is the greatest length of a message of a LaneTell, in bytes.
const maxLaneMessage = tellHead + 8*tellSize

// A message: version, flags, two bytes reserved, its number, the ID of the connection; then,
// for each lane, 12 bytes: kind, flags, round, two ports, step of the ports (signed), rate in
// tenths. By the ID, what an attempt before this one left on its way is told apart.
const (
	tellVersion = 1
	tellHead    = 16
	tellSize    = 12

	tellOver    = 1 << 0 // the lane has ended on the sender's side
	tellRefused = 1 << 1 // of LaneTCPPredicted: see tcpSandwich
)

// tellEntry is what one side tells the other of a lane. What the numbers mean is the
// lane's affair.
type tellEntry struct {
	over    bool
	refused bool
	round   uint16
	first   uint16
	second  uint16
	delta   int
	rate    float64
}

// tell gives the peer the whole state of all lanes.
func (m *Lanes) tell(now time.Time) {
	m.told++
	b := make([]byte, tellHead, tellHead+len(m.lanes)*tellSize)
	b[0] = tellVersion
	if m.cfg.Dialler {
		b[1] = laneDialler
	}
	binary.BigEndian.PutUint32(b[4:], m.told)
	binary.BigEndian.PutUint64(b[8:], m.id)
	for _, r := range m.lanes {
		var t tellEntry
		if r.work != nil {
			r.work.say(&t)
		}
		flags := byte(0)
		if r.ended {
			flags |= tellOver
		}
		if t.refused {
			flags |= tellRefused
		}
		b = append(b, byte(r.Kind), flags)
		b = binary.BigEndian.AppendUint16(b, t.round)
		b = binary.BigEndian.AppendUint16(b, t.first)
		b = binary.BigEndian.AppendUint16(b, t.second)
		b = binary.BigEndian.AppendUint16(b, uint16(int16(t.delta)))
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(t.rate, 0)*10+0.5, math.MaxUint16)))
	}
	m.events.Push(LaneEvent{Kind: LaneTell, At: now, Message: b})
}

// HandleMessage takes what the peer's LaneTell carried. It may come late, twice or out of
// order (if before these Lanes were made, the last one is to be handed over then), and hold
// anything: what the peer says chooses among ports of the addresses that
// signalling named, within our own budget, and no more.
func (m *Lanes) HandleMessage(now time.Time, b []byte) {
	if m.state != lanesRun || len(b) < tellHead || len(b) > maxLaneMessage || b[0] != tellVersion || (b[1]&laneDialler != 0) == m.cfg.Dialler || binary.BigEndian.Uint64(b[8:]) != m.id {
		return
	}
	number := binary.BigEndian.Uint32(b[4:])
	if number <= m.peerSaw {
		return
	}
	m.peerSaw = number
	for e := range slices.Chunk(b[tellHead:], tellSize) {
		if len(e) < tellSize {
			break
		}
		t := tellEntry{
			over: e[1]&tellOver != 0, refused: e[1]&tellRefused != 0, round: binary.BigEndian.Uint16(e[2:]),
			first: binary.BigEndian.Uint16(e[4:]), second: binary.BigEndian.Uint16(e[6:]),
			delta: int(int16(binary.BigEndian.Uint16(e[8:]))), rate: float64(binary.BigEndian.Uint16(e[10:])) / 10,
		}
		for _, r := range m.lanes {
			if r.Kind == LaneKind(e[0]) && !r.ended {
				r.work.heard(now, t)
				break
			}
		}
	}
	m.run(now)
}
