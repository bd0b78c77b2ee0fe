package bradawl

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// What can go wrong, for errors.Is.
var (
	// ErrClosed: the session, or the connection, was closed on this side. It matches
	// net.ErrClosed.
	ErrClosed error = closedError{}
	// ErrPeerClosed: the peer closed the connection.
	ErrPeerClosed = errors.New("the peer closed the connection")
	// ErrPeerRestarted: the peer's program was started anew, and knows nothing of the
	// connection. That is learned when one of the two dials the other, or when no path
	// answers any more and the peer has signed on again.
	ErrPeerRestarted = errors.New("the peer was started anew; dial it again")
	// ErrOffline: the signalling cannot reach the peer: it is not signed on.
	ErrOffline = errors.New("the peer is not signed on; see that it runs and uses the same rendezvous")
	// ErrReplaced: another program has signed on under this session's identity. Of two, peers
	// reach the one that came last; each signs on again after half a minute, and then ever more
	// seldom, up to ten minutes.
	ErrReplaced = errors.New("another program has signed on with this session's identity, and peers reach that one; give each program an identity of its own")
	// ErrNotSignedOn: there is no signalling, so that no offer leaves and no answer comes. Why
	// that is stands behind it. It is tried again all the while.
	ErrNotSignedOn = errors.New("this session is not signed on")
	// ErrNoAnswer: this session is signed on, and the peer did not answer the offer in time.
	ErrNoAnswer = errors.New("the peer did not answer")
	// ErrNoPath: the peer answered, but no path to it was found in time.
	ErrNoPath = errors.New("no path to the peer was found")
	// ErrNotAllowed: Config.AllowPeer, here, refused the peer.
	ErrNotAllowed = errors.New("not allowed by AllowPeer")
	// ErrSelf: a session cannot dial itself.
	ErrSelf = errors.New("the PeerID is this session's own; dial another one")
	// ErrNobody: the zero PeerID names nobody.
	ErrNobody = errors.New("no PeerID given; read one by ParsePeerID")
	// ErrLost: no path works at the moment; the session looks for one, for half an hour.
	ErrLost = errors.New("no path works at the moment")
	// ErrTooLong: a datagram is longer than every path takes.
	ErrTooLong = errors.New("datagram too long")

	errSigningOn = errors.New("the signalling has not answered yet")
	errMadeRoom  = errors.New("it came to nothing for a while, and others wait")
	errNonsense  = errors.New("its message makes no sense; it may be of another version")
	errTreatLate = fmt.Errorf("no answer within %v", treatWithin)
	errTreatBusy = errors.New("too many wait for an answer already")
)

// closedError is ErrClosed, which programs made for net.Conn know as well.
type closedError struct{}

func (closedError) Error() string        { return "the session or connection was closed on this side" }
func (closedError) Is(target error) bool { return target == net.ErrClosed }

// MaxDatagram is how many bytes a datagram of a Conn always may have: whatever the path,
// it is not fragmented (IPv6's least MTU of 1,280, less what IPv6, UDP, a TURN channel and
// the sealing take).
const MaxDatagram = 1200

// ConfigError says what is wrong with a configuration.
type ConfigError struct {
	Field  string // the field
	Reason string // what is wrong with it, and what would be right
}

// Error tells field and reason.
func (e *ConfigError) Error() string { return fmt.Sprintf("bradawl: %s: %s", e.Field, e.Reason) }

// PeerError is what went wrong with one peer.
type PeerError struct {
	Peer PeerID
	Err  error
}

// Error names the peer and what went wrong.
func (e *PeerError) Error() string {
	if e.Peer.IsZero() {
		return "bradawl: " + e.Err.Error()
	}
	return fmt.Sprintf("bradawl: peer %s: %v", e.Peer.Short(), e.Err)
}

// Unwrap returns what went wrong.
func (e *PeerError) Unwrap() error { return e.Err }

// RefusedError says that the peer refused the connection. The words are the peer's.
type RefusedError struct {
	Reason string // in a few words, of the peer's program; not to be trusted
}

// Error tells the peer's reason.
func (e *RefusedError) Error() string { return fmt.Sprintf("it refused: %q", e.Reason) }

// PathsError says that no path was found, and what was tried. It matches ErrNotSignedOn,
// ErrNoAnswer, ErrNoPath, ErrLost, or the cause of the context that ended first: then it
// matches ErrNotSignedOn beside that, where it is the Reason.
type PathsError struct {
	Peer    PeerID
	Elapsed time.Duration // since the dial, or the peer's offer
	Tried   []PathError   // each pair of addresses, the best first
	Err     error         // ErrNotSignedOn, ErrNoAnswer, ErrNoPath or ErrLost, or the context's cause
	Reason  Reason        // why there is no direct path, in a word
	Why     string        // how far it came, and what would change that
}

// PathError is what became of one pair of addresses.
type PathError struct {
	Path Path
	Sent int // checks
	Err  error
}

// Error tells what was tried.
func (e PathError) Error() string {
	return fmt.Sprintf("%v -> %v: %d checks sent: %v", e.Path.Local, e.Path.Remote, e.Sent, e.Err)
}

// Unwrap returns why.
func (e PathError) Unwrap() error { return e.Err }

// Error tells how long was tried what.
func (e *PathsError) Error() string {
	in := "after"
	if e.Err == ErrNoAnswer || e.Err == ErrNoPath {
		in = "within"
	}
	text := fmt.Sprintf("bradawl: peer %s: %v %s %v", e.Peer.Short(), e.Err, in, e.Elapsed.Round(time.Millisecond))
	if len(e.Tried) > 0 {
		text += fmt.Sprintf("; %d pairs of addresses were tried", len(e.Tried))
	}
	switch why, again := strings.CutPrefix(e.Why, ReasonNotSignedOn.Sentence()); {
	case again && e.Err == ErrNotSignedOn: // it has been said
		text += why
	case e.Why != "":
		text += "; " + e.Why
	}
	return text
}

// Unwrap returns Err, ErrNotSignedOn if that is the reason, and an error for each path that
// was tried.
func (e *PathsError) Unwrap() []error {
	all := []error{e.Err}
	if e.Reason == ReasonNotSignedOn && e.Err != ErrNotSignedOn {
		all = append(all, ErrNotSignedOn)
	}
	for _, t := range e.Tried {
		all = append(all, t)
	}
	return all
}
