package simnet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"net/netip"
	"time"
)

// TraceEvent is one thing that happened in a world.
type TraceEvent struct {
	At    time.Time
	Where string // the host, NAT or link
	// What is "send", "recv" (at a host), "out", "in" (through a NAT), "drop", or
	// "mapping" (a NAT's table changed) or "reboot".
	What   string
	Packet *Packet // nil for the last two; not to be kept or changed
	Reason string  // why it was dropped; what became of the mapping
}

// String is one line for people.
func (e TraceEvent) String() string {
	if e.Packet == nil {
		return fmt.Sprintf("%s %s: %s", e.Where, e.What, e.Reason)
	}
	p := e.Packet
	s := fmt.Sprintf("%s %s %s %s -> %s, %d bytes", e.Where, e.What, p.Proto, p.Src, p.Dst, len(p.Data))
	if p.Proto == TCP {
		s += fmt.Sprintf(" [%s] seq %d ack %d", p.Segment.Flags, p.Segment.Seq, p.Segment.Ack)
	}
	if p.Error != nil {
		s += fmt.Sprintf(" (%s)", p.Error)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// trace hashes all that happens, and tells who listens.
type trace struct {
	hash hash.Hash
	buf  []byte
	tell func(TraceEvent)
}

func (t *trace) init() { t.hash = sha256.New() }

// OnTrace hands every event to fn from now on; nil ends that.
func (w *World) OnTrace(fn func(TraceEvent)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace.tell = fn
}

// TraceHash is the hash of all that has happened: time, place, addresses and bytes
// of every packet at every hop, and every change of a NAT's table.
func (w *World) TraceHash() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return hex.EncodeToString(w.trace.hash.Sum(nil))
}

func (t *trace) packet(now time.Time, where, what string, p *Packet) {
	t.event(TraceEvent{At: now, Where: where, What: what, Packet: p})
}

func (t *trace) drop(now time.Time, where string, p *Packet, why string) {
	t.event(TraceEvent{At: now, Where: where, What: "drop", Packet: p, Reason: why})
}

// note records what happened to no packet.
func (t *trace) note(now time.Time, where, what string) {
	e := TraceEvent{At: now, Where: where, What: what}
	t.begin(e)
	t.hash.Write(t.buf)
	if t.tell != nil {
		t.tell(e)
	}
}

func (t *trace) mapped(now time.Time, where string, m *mapping, what string) {
	e := TraceEvent{At: now, Where: where, What: "mapping", Reason: what}
	t.begin(e)
	t.buf = append(t.buf, byte(m.proto))
	t.addr(m.inside)
	t.addr(m.outside)
	t.addr(m.remote)
	t.hash.Write(t.buf)
	if t.tell != nil {
		e.Reason = fmt.Sprintf("%s %s %s as %s", what, m.proto, m.inside, m.outside)
		t.tell(e)
	}
}

func (t *trace) event(e TraceEvent) {
	p := e.Packet
	t.begin(e)
	t.addr(p.Src)
	t.addr(p.Dst)
	t.buf = append(t.buf, byte(p.Proto), p.TTL, byte(p.Segment.Flags))
	t.buf = binary.BigEndian.AppendUint32(t.buf, p.Segment.Seq)
	t.buf = binary.BigEndian.AppendUint32(t.buf, p.Segment.Ack)
	t.buf = binary.BigEndian.AppendUint32(t.buf, p.Segment.Window)
	if p.Error != nil {
		t.buf = append(t.buf, byte(p.Error.Kind), byte(p.Error.Proto))
		t.addr(p.Error.Src)
		t.addr(p.Error.Dst)
	}
	t.buf = binary.BigEndian.AppendUint32(t.buf, uint32(len(p.Data)))
	t.hash.Write(t.buf)
	t.hash.Write(p.Data)
	if t.tell != nil {
		t.tell(e)
	}
}

func (t *trace) begin(e TraceEvent) {
	t.buf = binary.BigEndian.AppendUint64(t.buf[:0], uint64(e.At.UnixNano()))
	for _, s := range [...]string{e.Where, e.What, e.Reason} {
		t.buf = append(t.buf, s...)
		t.buf = append(t.buf, 0)
	}
}

func (t *trace) addr(a netip.AddrPort) {
	b := a.Addr().As16()
	t.buf = append(t.buf, b[:]...)
	t.buf = binary.BigEndian.AppendUint16(t.buf, a.Port())
}
