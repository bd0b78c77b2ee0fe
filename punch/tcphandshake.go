package punch

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

// Each side of a connection sends three records of fixed length, so that a reader
// can stop at the byte where the peer's data begins:
//
//	hello  magic, session nonce, connection nonce
//	proof  HMAC-SHA256(secret, "proof", own nonces, the other's nonces)
//	verdict  the same with "verdict": USE of who elects, its confirmation of who does not
//
// The nonces of the other side make a proof worthless anywhere else; the order of the
// two sides, to the side that made it.
const (
	nonceSize = 16
	helloSize = len(tcpMagic) + 2*nonceSize
	macSize   = sha256.Size

	// tcpHandshakeSize is how many bytes each side sends on a connection before the
	// peer's data may begin.
	tcpHandshakeSize = helloSize + 2*macSize
)

const tcpMagic = "bradawl-tcp1"

type nonce [nonceSize]byte

// tcpStream is one connection, or the attempt at one.
type tcpStream struct {
	id            machine.StreamID
	target        *tcpTarget // nil: it came in
	local, remote netip.AddrPort
	connected     bool
	since         time.Time // when it was connected
	own           nonce
	theirs        [2 * nonceSize]byte // session and connection nonce
	greeted       bool
	proven        bool
	rtt           time.Duration
	buf           []byte
}

// Why a connection is dropped.
var (
	errSlow    = errors.New("connected, but the peer did not prove itself in time")
	errForeign = errors.New("connected, but to something else than a punching peer")
	errSelf    = errors.New("connected to ourselves")
	errEnded   = errors.New("connected, but the other side ended the connection")
)

// open greets the other side of a connection that has come up.
func (m *tcpMachine) open(now time.Time, s *tcpStream, n machine.Notice) {
	if _, err := io.ReadFull(m.secrets, s.own[:]); err != nil {
		m.drop(now, s, err)
		return
	}
	s.connected, s.since, s.local, s.remote = true, now, n.Local, n.Remote
	hello := append([]byte(tcpMagic), m.session[:]...)
	m.write(s, append(hello, s.own[:]...))
}

func (m *tcpMachine) write(s *tcpStream, b []byte) {
	m.out.Push(machine.Transmit{Op: machine.Write, Stream: s.id, Data: b})
}

// received takes bytes as they come, one record after the other.
func (m *tcpMachine) received(now time.Time, s *tcpStream, b []byte) {
	s.buf = append(s.buf, b...)
	for !m.ended && m.streams[s.id] == s {
		var record []byte
		switch {
		case !s.greeted && len(s.buf) >= helloSize:
			record, s.buf = s.buf[:helloSize], s.buf[helloSize:]
			m.hello(now, s, record)
		case s.greeted && len(s.buf) >= macSize:
			record, s.buf = s.buf[:macSize], s.buf[macSize:]
			if s.proven {
				m.verdict(now, s, record)
			} else {
				m.proof(now, s, record)
			}
		default:
			if !s.greeted && !bytes.HasPrefix([]byte(tcpMagic), s.buf[:min(len(s.buf), len(tcpMagic))]) {
				m.drop(now, s, errForeign)
			}
			return
		}
	}
}

func (m *tcpMachine) hello(now time.Time, s *tcpStream, record []byte) {
	rest, ok := bytes.CutPrefix(record, []byte(tcpMagic))
	switch {
	case !ok:
		m.drop(now, s, errForeign)
		return
	case nonce(rest[:nonceSize]) == m.session:
		m.drop(now, s, errSelf)
		return
	}
	copy(s.theirs[:], rest)
	s.greeted = true
	m.write(s, m.mac("proof", m.ours(s), s.theirs[:]))
}

func (m *tcpMachine) ours(s *tcpStream) []byte {
	return append(append([]byte(nil), m.session[:]...), s.own[:]...)
}

func (m *tcpMachine) mac(what string, from, to []byte) []byte {
	h := hmac.New(sha256.New, m.cfg.Secret)
	h.Write([]byte("bradawl tcp " + what))
	h.Write(from)
	h.Write(to)
	return h.Sum(nil)
}

// authentic checks a record of the other side.
func (m *tcpMachine) authentic(now time.Time, s *tcpStream, what string, record []byte) bool {
	if hmac.Equal(record, m.mac(what, s.theirs[:], m.ours(s))) {
		return true
	}
	m.forged++
	m.drop(now, s, ErrSecret)
	return false
}

func (m *tcpMachine) proof(now time.Time, s *tcpStream, record []byte) {
	if !m.authentic(now, s, "proof", record) {
		return
	}
	m.met = true
	s.proven, s.rtt = true, now.Sub(s.since)
	m.events.Push(m.event(now, tcpProven, s))
	if m.elects(s) && m.elected == nil {
		m.elect(s)
	}
}

// elects reports whether the choice is ours.
func (m *tcpMachine) elects(s *tcpStream) bool {
	return bytes.Compare(m.session[:], s.theirs[:nonceSize]) > 0
}

func (m *tcpMachine) elect(s *tcpStream) {
	m.elected = s
	m.write(s, m.mac("verdict", m.ours(s), s.theirs[:]))
}

// verdict is USE, which we confirm, or the confirmation of ours.
func (m *tcpMachine) verdict(now time.Time, s *tcpStream, record []byte) {
	if !m.authentic(now, s, "verdict", record) {
		return
	}
	if !m.elects(s) {
		m.write(s, m.mac("verdict", m.ours(s), s.theirs[:]))
	} else if m.elected != s {
		m.drop(now, s, errForeign) // it confirms what was not elected
		return
	}
	m.end(s)
	e := m.event(now, tcpAgreed, s)
	e.Early = s.buf
	m.events.Push(e)
}

func (m *tcpMachine) event(now time.Time, k tcpEventKind, s *tcpStream) tcpEvent {
	return tcpEvent{Kind: k, At: now, Stream: s.id, Local: s.local, Remote: s.remote, RTT: s.rtt}
}
