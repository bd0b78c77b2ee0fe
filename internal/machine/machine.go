package machine

import (
	"net/netip"
	"time"
)

// SocketID names one datagram socket of a machine. The sockets that the runner
// was started with are 0, 1, 2 in the order given; a machine that opens more
// chooses their numbers itself.
type SocketID uint32

// StreamID names one byte or message stream of a machine. The machine chooses
// the numbers of the streams it dials, below [AcceptedBase]; the runner numbers
// accepted ones from there up.
type StreamID uint32

// AcceptedBase is the number of the first stream that a runner accepts.
const AcceptedBase StreamID = 1 << 31

// MaxDatagram is the length of the longest datagram that a runner hands to a
// machine: control traffic stays below 1,500 bytes, and a socket's buffer must
// stay cheap with hundreds of sockets.
const MaxDatagram = 4095

// Datagram is one datagram that arrived, with the path it came by.
type Datagram struct {
	Socket SocketID       // the socket it arrived on
	Local  netip.AddrPort // the host's own address that it arrived at; the IP may be unspecified, when the socket cannot tell
	Remote netip.AddrPort // who sent it; IPv4 is never written as IPv4-mapped IPv6
	Data   []byte         // valid during the call only
	TTL    int            // remaining hops; 0: unknown
	Stamp  time.Time      // when the kernel received it; zero: unknown
}

// Op says what a Transmit asks of the runner.
type Op uint8

// The effects that a machine can ask for. Whether an effect worked is told by
// a Notice, except for Send: a datagram that could not be sent is lost, as
// datagrams are.
const (
	Send        Op = iota // send Data from Socket (and Local) to Remote
	OpenSocket            // open datagram socket Socket on Local (port 0: any)
	CloseSocket           // close datagram socket Socket
	Dial                  // dial stream Stream from Local to Remote
	Write                 // write Data to stream Stream
	Close                 // close stream Stream in order, after what was written
	Reset                 // drop stream Stream at once
)

// String returns the name of the effect.
func (o Op) String() string { return name(opNames[:], int(o)) }

var opNames = [...]string{"send", "open-socket", "close-socket", "dial", "write", "close", "reset"}

// Transmit is one effect that a machine wants: most often a datagram to send.
type Transmit struct {
	Op           Op
	Socket       SocketID
	Stream       StreamID
	Local        netip.AddrPort // OpenSocket, Dial: the address to bind; Send: the source, of which the IP counts; the zero value: any
	Remote       netip.AddrPort // Send, Dial
	Data         []byte         // Send, Write: valid until the machine is entered again
	TTL          int            // Send: hop limit; 0: the system's default
	DontFragment bool           // Send: set the IPv4 don't-fragment bit
}

// Machine is a protocol without its environment. E is its event type.
//
// A Machine is not safe for concurrent use; its runner owns it.
type Machine[E any] interface {
	// HandleDatagram takes in one datagram. It must not keep d.Data.
	HandleDatagram(now time.Time, d Datagram)
	// HandleTimeout does what has become due. A call that comes early is harmless.
	HandleTimeout(now time.Time)
	// NextTimeout is when HandleTimeout is wanted next; the zero time: never.
	NextTimeout() time.Time
	// PollTransmit returns the next effect; false when there is none.
	PollTransmit() (Transmit, bool)
	// PollEvent returns the next event for whoever uses the machine; false when there is none.
	PollEvent() (E, bool)
}

// NoticeKind says what a Notice reports.
type NoticeKind uint8

// What a runner reports beside datagrams.
const (
	SocketOpened NoticeKind = iota // OpenSocket worked; Local is what it is bound to, the IP as asked
	SocketFailed                   // OpenSocket failed, or the socket broke; Err says why
	Unreachable                    // ICMP error for a datagram sent from Socket to Remote; Reason and Err say which
	Accepted                       // a stream came in
	Connected                      // Dial worked
	Received                       // Data arrived on Stream
	Closed                         // Stream is gone; Err is nil when the other side ended it in order
)

// String returns the name of the kind.
func (k NoticeKind) String() string { return name(noticeNames[:], int(k)) }

var noticeNames = [...]string{"socket-opened", "socket-failed", "unreachable", "accepted", "connected", "received", "closed"}

// Notice is what came of an effect, or what happened to a socket or a stream.
type Notice struct {
	Kind   NoticeKind
	Socket SocketID
	Stream StreamID
	Local  netip.AddrPort // of the socket as it is bound; of the stream, once it is connected
	Remote netip.AddrPort // Unreachable, and whatever is told of a stream
	Data   []byte         // Received: valid during the call only
	Err    error
	Reason Reason // Unreachable
}

// Noticer is implemented by machines that use effects other than Send, or that
// want to know about unreachable remotes.
type Noticer interface {
	HandleNotice(now time.Time, n Notice)
}

// Drain polls m until it has nothing more to say. Both functions are called in
// the machine's order and must not enter m.
func Drain[E any](m Machine[E], transmit func(Transmit), event func(E)) {
	for more := true; more; {
		more = false
		for t, ok := m.PollTransmit(); ok; t, ok = m.PollTransmit() {
			transmit(t)
			more = true
		}
		for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
			event(e)
			more = true
		}
	}
}

// Serve drains m and hands its events to event one by one, in order and each with
// m drained, so that event may enter m. They wait in q; collect is q.Push, which
// the runner makes once, for a method value allocates.
func Serve[E any](m Machine[E], transmit func(Transmit), collect func(E), q *Queue[E], event func(E)) {
	for {
		Drain(m, transmit, collect)
		e, ok := q.Pop()
		if !ok {
			return
		}
		event(e)
	}
}

// Earliest returns the earliest of the deadlines given, passing over zero ones.
func Earliest(deadlines ...time.Time) time.Time {
	var first time.Time
	for _, t := range deadlines {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}
