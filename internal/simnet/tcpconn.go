package simnet

import (
	"net/netip"
	"syscall"
	"time"
)

// tcpConn is one end of a connection. All of it happens with the world locked.
type tcpConn struct {
	stack    *tcpStack
	tuple    tuple
	listener *tcpListener // nil: dialled here
	reuse    bool
	on       tcpEvents
	state    tcpState

	iss, una, next uint32 // sending: first, oldest unacknowledged, next to be sent
	out            []byte // from una on, without SYN and FIN
	closing        bool   // a FIN follows out
	closed         bool   // our FIN has been acknowledged
	window         uint32 // what the other side takes beyond una
	cwnd, ssthresh int
	segment        int // the most data in one
	dups           int
	retries        int
	rto            time.Duration
	srtt, rttvar   time.Duration
	timedSeq       uint32 // of the segment whose round trip is measured
	timedAt        time.Time
	timer          int // generation of the queued timeout

	want   uint32 // receiving: the next sequence number
	early  map[uint32]*Packet
	ended  bool // the other side's FIN has come
	unread int
}

type tcpState uint8

const (
	synSent tcpState = iota
	synReceived
	established
	timeWait // both sides have said all; only repeats are answered
	gone
)

// tcpEvents is what a connection tells its owner. All are set.
type tcpEvents struct {
	connected func()
	received  func(b []byte) // not to be kept
	ended     func()         // the other side sends no more
	space     func()         // there is room to write again
	closed    func(err error)
}

func quietEvents() tcpEvents {
	return tcpEvents{func() {}, func([]byte) {}, func() {}, func() {}, func(error) {}}
}

const (
	mss           = 1400
	tcpBuffer     = 256 << 10
	initialWindow = 10 * mss
	minRTO        = 200 * time.Millisecond
	initialRTO    = time.Second
	maxRTO        = time.Minute
	synTries      = 6
	dataTries     = 15
	lingerTime    = time.Minute // how long an end that has said all waits for the other's FIN
)

func (s *tcpStack) newConn(local, remote netip.AddrPort) *tcpConn {
	iss := s.h.rand.Uint32()
	c := &tcpConn{
		stack: s, tuple: tuple{local, remote}, on: quietEvents(),
		iss: iss, una: iss, next: iss, cwnd: initialWindow, ssthresh: tcpBuffer, segment: mss, rto: initialRTO,
		early: make(map[uint32]*Packet), timedSeq: iss, timedAt: s.h.w.now,
	}
	s.conns[c.tuple] = c
	return c
}

// transmit sends one segment as it is.
func (c *tcpConn) transmit(f Flags, seq uint32, data []byte) {
	p := &Packet{
		Proto: TCP, Src: c.tuple.local, Dst: c.tuple.remote, TTL: defaultTTL, DF: true,
		Segment: Segment{Flags: f, Seq: seq, Window: uint32(max(0, tcpBuffer-c.unread))},
		Data:    append([]byte(nil), data...),
	}
	if f&ACK != 0 {
		p.Segment.Ack = c.want
	}
	_ = c.stack.h.output(p) // no route now: lost, and sent again
}

func (c *tcpConn) acknowledge() { c.transmit(ACK, c.next, nil) }

// synchronise takes the other side's SYN.
func (c *tcpConn) synchronise(p *Packet) {
	c.want = p.Segment.Seq + 1
	c.window = p.Segment.Window
}

// receive takes a segment of this connection (RFC 9293 3.10.7).
func (c *tcpConn) receive(p *Packet) {
	s := p.Segment
	acks := s.Flags&ACK != 0
	if c.state == synSent {
		switch {
		case acks && s.Ack != c.next:
			c.stack.refuse(p)
		case s.Flags&RST != 0:
			if acks {
				c.end(syscall.ECONNREFUSED)
			}
		case s.Flags&SYN != 0:
			c.synchronise(p)
			if acks {
				c.establish(s)
				c.acknowledge()
				c.push()
				return
			}
			// Both sides dial: each answers the other's SYN.
			c.state = synReceived
			c.transmit(SYN|ACK, c.iss, nil)
			c.arm()
		}
		return
	}
	if s.Flags&RST != 0 {
		if d := int32(s.Seq - c.want); d >= 0 && d < tcpBuffer {
			if c.state == synReceived {
				c.end(syscall.ECONNREFUSED)
			} else {
				c.end(syscall.ECONNRESET)
			}
		}
		return
	}
	if c.state == timeWait {
		if p.sequence() > 0 {
			c.acknowledge() // our last one was lost
		}
		return
	}
	if c.state == synReceived {
		if s.Flags&SYN != 0 && !acks {
			c.transmit(SYN|ACK, c.iss, nil) // ours was lost
			return
		}
		if !acks {
			return
		}
		if s.Ack != c.iss+1 {
			c.stack.refuse(p) // it belongs to an earlier connection between the same endpoints
			return
		}
		c.establish(s)
	}
	if s.Flags&SYN != 0 {
		c.acknowledge() // the other side has not heard our last word
		return
	}
	if acks {
		c.acked(s, len(p.Data) == 0 && s.Flags&FIN == 0)
	}
	if c.state == established && (len(p.Data) > 0 || s.Flags&FIN != 0) {
		c.take(p)
		if c.state == established {
			c.acknowledge()
		}
	}
	if c.state == established {
		c.push()
		c.finish()
	}
}

func (c *tcpConn) establish(s Segment) {
	c.state = established
	c.una, c.window, c.retries = s.Ack, s.Window, 0
	if !c.timedAt.IsZero() {
		c.measure(c.stack.h.w.now.Sub(c.timedAt))
		c.timedAt = time.Time{}
	} else {
		c.rto = initialRTO // the SYN had to be repeated: nothing is known of the path
	}
	c.arm()
	if c.listener != nil {
		c.listener.half--
		c.listener.accept(c)
		return
	}
	c.on.connected()
}

// acked takes an acknowledgement: what it frees, measures, and says of loss.
func (c *tcpConn) acked(s Segment, bare bool) {
	n := int32(s.Ack - c.una)
	switch {
	case n < 0 || int32(s.Ack-c.next) > 0 && int32(s.Ack-c.limit()) > 0:
		return
	case n == 0:
		if bare && c.next != c.una && s.Window == c.window {
			if c.dups++; c.dups == 3 {
				c.ssthresh = max(int(c.next-c.una)/2, 2*mss)
				c.cwnd = c.ssthresh
				c.resend()
			}
		}
		if c.window = s.Window; c.window == 0 {
			c.retries = 0 // the other side lives, and asks for time
		}
		return
	}
	now := c.stack.h.w.now
	if !c.timedAt.IsZero() && int32(s.Ack-c.timedSeq) > 0 {
		c.measure(now.Sub(c.timedAt))
		c.timedAt = time.Time{}
	}
	data := min(int(n), len(c.out))
	c.out = c.out[data:]
	c.closed = c.closed || c.closing && int(n) > data
	c.una, c.window, c.dups, c.retries = s.Ack, s.Window, 0, 0
	if int32(c.next-c.una) < 0 {
		c.next = c.una // acknowledged beyond where a retransmission had set back
	}
	if c.cwnd < c.ssthresh {
		c.cwnd += data
	} else {
		c.cwnd += max(1, mss*data/c.cwnd)
	}
	c.arm()
	if data > 0 {
		c.on.space()
	}
}

// measure updates the retransmission time-out (RFC 6298).
func (c *tcpConn) measure(rtt time.Duration) {
	if c.srtt == 0 {
		c.srtt, c.rttvar = rtt, rtt/2
	} else {
		c.rttvar += ((c.srtt - rtt).Abs() - c.rttvar) / 4
		c.srtt += (rtt - c.srtt) / 8
	}
	c.rto = min(max(c.srtt+4*c.rttvar, minRTO), maxRTO)
}

// take delivers data in order and keeps what comes early.
func (c *tcpConn) take(p *Packet) {
	if d := int32(p.Segment.Seq - c.want); d > 0 {
		if d < tcpBuffer && len(c.early) < tcpBuffer/mss {
			c.early[p.Segment.Seq] = p
		}
		return
	}
	for p != nil && c.state == established {
		skip := int(c.want - p.Segment.Seq)
		if skip < len(p.Data) {
			data := p.Data[skip:]
			c.want += uint32(len(data))
			c.unread += len(data)
			c.on.received(data)
		}
		if p.Segment.Flags&FIN != 0 && p.Segment.Seq+uint32(len(p.Data)) == c.want && !c.ended {
			c.want++
			c.ended = true
			c.on.ended()
		}
		p = c.early[c.want]
		delete(c.early, c.want)
	}
}

// limit is the sequence number after all that is to be sent.
func (c *tcpConn) limit() uint32 {
	n := c.una + uint32(len(c.out))
	if c.closing && !c.closed {
		n++
	}
	return n
}

// push sends what the windows allow.
func (c *tcpConn) push() {
	if c.state != established {
		return
	}
	for int32(c.limit()-c.next) > 0 {
		at := int(c.next - c.una)
		room := min(c.cwnd, int(c.window)) - at
		if at < len(c.out) && room <= 0 {
			break
		}
		if c.timedAt.IsZero() {
			c.timedSeq, c.timedAt = c.next, c.stack.h.w.now
		}
		if at < len(c.out) {
			n := min(c.segment, len(c.out)-at, room)
			c.transmit(ACK, c.next, c.out[at:at+n])
			c.next += uint32(n)
		} else {
			c.transmit(FIN|ACK, c.next, nil)
			c.next++
		}
		if at == 0 {
			c.arm()
		}
	}
	if c.next == c.una && c.next != c.limit() {
		c.arm() // the window is shut: the timer probes it
	}
}

// resend sends the oldest segment once more.
func (c *tcpConn) resend() {
	c.timedAt = time.Time{} // Karn: its round trip can no longer be told
	switch {
	case len(c.out) > 0:
		c.transmit(ACK, c.una, c.out[:min(c.segment, len(c.out))])
	case c.closing && !c.closed:
		c.transmit(FIN|ACK, c.una, nil)
	}
}

// arm sets the retransmission timer anew, or stops it when nothing is under way.
func (c *tcpConn) arm() {
	c.timer++
	if c.state == established && c.una == c.limit() {
		return
	}
	generation, w := c.timer, c.stack.h.w
	w.at(w.now.Add(c.rto), func() {
		if c.timer == generation && c.state < timeWait {
			c.timeout()
		}
	})
}

func (c *tcpConn) timeout() {
	most := dataTries
	if c.state != established {
		most = synTries
	}
	if c.retries++; c.retries > most {
		c.end(syscall.ETIMEDOUT)
		return
	}
	c.rto = min(2*c.rto, maxRTO)
	c.timedAt = time.Time{}
	switch c.state {
	case synSent:
		c.transmit(SYN, c.iss, nil)
	case synReceived:
		c.transmit(SYN|ACK, c.iss, nil)
	case established:
		c.ssthresh = max(int(c.next-c.una)/2, 2*mss)
		c.cwnd, c.dups = mss, 0
		c.resend()
		c.next = c.una + uint32(min(c.segment, len(c.out)))
		if len(c.out) == 0 && c.closing && !c.closed {
			c.next++
		}
	}
	c.arm()
}

// shrink learns that the path takes no bigger packets than mtu (RFC 1191), and sends
// what is under way again.
func (c *tcpConn) shrink(mtu int) {
	header := 40
	if c.tuple.remote.Addr().Is6() {
		header = 60
	}
	size := max(mtu-header, 64)
	if size >= c.segment {
		return
	}
	c.segment = size
	c.timedAt = time.Time{}
	if c.state == established {
		c.next = c.una
		c.push()
	}
}

// write queues what fits and reports how much that is. unlimited takes everything.
func (c *tcpConn) write(b []byte, unlimited bool) int {
	n := len(b)
	if !unlimited {
		n = min(n, max(0, tcpBuffer-len(c.out)))
	}
	c.out = append(c.out, b[:n]...)
	c.push()
	return n
}

// consumed says that the owner has used n bytes that it received.
func (c *tcpConn) consumed(n int) {
	shut := tcpBuffer-c.unread < mss
	c.unread -= n
	if shut && tcpBuffer-c.unread >= mss && c.state == established {
		c.acknowledge()
	}
}

// close sends a FIN after what was written. The owner hears no more of it.
func (c *tcpConn) close() {
	c.on = quietEvents()
	if c.state != established {
		c.abort()
		return
	}
	if c.closing {
		return
	}
	c.closing = true
	c.push()
	w := c.stack.h.w
	w.at(w.now.Add(lingerTime), func() {
		if c.closed {
			c.end(nil) // the other side never says that it has ended
		}
	})
	c.finish()
}

// finish ends a connection both of whose sides have said all.
func (c *tcpConn) finish() {
	if !c.closed || !c.ended {
		return
	}
	c.state = timeWait
	c.timer++
	w := c.stack.h.w
	w.at(w.now.Add(lingerTime), func() { c.end(nil) })
	on := c.on
	c.on = quietEvents()
	on.closed(nil)
}

// abort drops the connection at once, and tells the other side.
func (c *tcpConn) abort() {
	if c.state >= timeWait {
		return
	}
	if c.state != synSent {
		c.transmit(RST|ACK, c.next, nil)
	}
	c.on = quietEvents()
	c.end(nil)
}

func (c *tcpConn) end(err error) {
	if c.state == gone {
		return
	}
	if c.state == synReceived && c.listener != nil {
		c.listener.half--
	}
	c.state = gone
	c.timer++
	if c.stack.conns[c.tuple] == c {
		delete(c.stack.conns, c.tuple)
	}
	c.on.closed(err)
}
