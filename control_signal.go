package bradawl

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/seal"
)

// What goes by the signalling, by its first byte. An answer and what follows it name the
// receiver's index in the next three.
const (
	msgOffer  = 1 // the first message of the handshake, with a hello
	msgAnswer = 2 // the second one, with a hello
	msgSealed = 3 // an update, under keys of the handshake
)

const (
	indexSize = 3
	// maxSignal is the longest message of the signalling, in bytes.
	maxSignal = 48_000
	// maxCandidates is how many candidates one message may have.
	maxCandidates = 100
)

// hello is what an offer and an answer say. Fields that a version does not know are passed
// over.
type hello struct {
	Stamp      uint64   `json:"t,omitzero"` // it grows, so that a recorded offer is told from a new one
	Boot       uint64   `json:"b,omitzero"` // tells one run of the program from another
	Index      uint32   `json:"i"`          // for sealed datagrams to its sender
	Protocol   string   `json:"l,omitzero"`
	Plaintext  bool     `json:"x,omitzero"`
	Policy     Policy   `json:"o,omitzero"`
	Ufrag      string   `json:"u"`
	Pwd        string   `json:"p"`
	Candidates []string `json:"c,omitzero"`
	Profile    []byte   `json:"n,omitzero"` // natprobe.Profile
	NoLanes    bool     `json:"e,omitzero"` // its sender does not take part in attempts at the NATs' ports
	Free       bool     `json:"f,omitzero"` // its sender could begin one at once
	Mapped     bool     `json:"m,omitzero"` // a router has mapped a UDP port to its sender
	// Budget is what its sender spends at most: see budgetTerms.
	Budget  []float64 `json:"g,omitzero"`
	Refused string    `json:"r,omitzero"` // there will be no connection, and why
	Last    uint64    `json:"s,omitzero"` // answer: the greatest stamp known, where the offer's is no greater
	// Link is the link that the connection is to share, by the indexes of its first
	// connection, the sender's first. Then there are no credentials and no candidates.
	Link     [2]uint32 `json:"k,omitzero"`
	Unlinked bool      `json:"d,omitzero"` // answer: there is no such link
}

func (h *hello) credentials() ice.Credentials { return ice.Credentials{Ufrag: h.Ufrag, Pwd: h.Pwd} }

// check says what is wrong with a peer's hello.
func (h *hello) check() error {
	switch {
	case h.Refused != "":
		return nil
	case !isIndex(h.Index):
		return fmt.Errorf("index %d is out of range", h.Index)
	case h.Link != [2]uint32{}:
		if !isIndex(h.Link[0]) || !isIndex(h.Link[1]) {
			return fmt.Errorf("link %d is out of range", h.Link)
		}
		if h.Ufrag != "" || h.Pwd != "" || len(h.Candidates) > 0 || len(h.Profile) > 0 || h.Plaintext {
			return errors.New("what is shared is told again")
		}
		return nil
	case len(h.Candidates) > maxCandidates:
		return fmt.Errorf("%d candidates are too many", len(h.Candidates))
	}
	return h.credentials().Check()
}

func isIndex(i uint32) bool { return i != 0 && i < 1<<24 }

// readHello reads and checks a hello.
func readHello(payload []byte) (*hello, error) {
	h := new(hello)
	if err := json.Unmarshal(payload, h); err != nil {
		return nil, fmt.Errorf("%w: %v", errNonsense, err)
	}
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", errNonsense, err)
	}
	return h, nil
}

// encode writes what always can be written.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bradawl: " + err.Error())
	}
	return b
}

// wrap puts the first byte, and the index, before a message.
func wrap(kind byte, index uint32, message []byte) []byte {
	b := []byte{kind}
	if kind != msgOffer {
		b = append(b, byte(index>>16), byte(index>>8), byte(index))
	}
	return append(b, message...)
}

// signal takes in a message that came by the signalling.
func (c *control) signal(now time.Time, from PeerID, message []byte) {
	c.enter(now)
	defer c.pump(now)
	c.message(now, from, message, false)
}

// message takes in what came by the signalling or, sealed, by a path.
func (c *control) message(now time.Time, from PeerID, message []byte, byPath bool) {
	if len(message) == 0 || len(message) > maxSignal || from == c.cfg.identity.ID() {
		return
	}
	if message[0] == msgOffer {
		c.offered(now, from, message[1:], byPath)
		return
	}
	if len(message) < 1+indexSize {
		return
	}
	index := uint32(message[1])<<16 | uint32(message[2])<<8 | uint32(message[3])
	k := c.byIndex[index]
	if k == nil && message[0] == msgSealed && !byPath {
		c.stray(now, from, index)
	}
	if k == nil || k.peer != from {
		return // of a connection that is over, or of somebody who guesses
	}
	switch message[0] {
	case msgAnswer:
		k.answered(now, message[1+indexSize:])
	case msgSealed:
		if k.keys == nil {
			return
		}
		plain, err := k.keys.OpenSignal(message[1+indexSize:])
		switch err {
		case nil:
			k.updated(now, plain, ice.Route{})
		case seal.ErrReplay:
			c.counts.Replays++
		default:
			c.counts.Forged++
		}
	}
}

// undeliverable tells that the signalling cannot reach a peer.
func (c *control) undeliverable(now time.Time, peer PeerID, why error) {
	c.enter(now)
	for _, k := range slices.Backward(c.order()) { // those that wait for another's link first
		if k.peer == peer && k.state == dialing && !(k.rides && k.path != nil) { // then it hears us all the same
			k.end(now, &PeerError{Peer: peer, Err: fmt.Errorf("%w (%w)", ErrOffline, why)})
		}
	}
	c.pump(now)
}

// signedOn tells that the signalling works again: what waits for an answer is sent at once.
func (c *control) signedOn(now time.Time) {
	c.enter(now)
	c.unsigned = nil
	for _, k := range c.order() {
		k.repeat(now)
	}
	for _, k := range c.links {
		k.unsaid(0)
	}
	c.pump(now)
}

// signedOff tells why the signalling does not work.
func (c *control) signedOff(why error) { c.unsigned = why }

// offered takes in an offer.
func (c *control) offered(now time.Time, from PeerID, message []byte, byPath bool) {
	for _, k := range c.order() { // the same once more: the answer got lost
		if k.peer == from && k.theirOffer && k.offer != nil && string(k.offer) == string(message) {
			k.byPath = byPath
			k.repeat(now)
			return
		}
	}
	got, err := seal.Receive(c.cfg.identity, message, c.secrets)
	if err != nil || got.From != from {
		c.counts.Forged++
		c.refused(now, from, "an offer does not decrypt, or is not of who sent it", seal.ErrForged)
		return
	}
	h, err := readHello(got.Payload)
	if err == nil && byPath && h.Link == [2]uint32{} {
		err = fmt.Errorf("%w: by a path come offers for that path alone", errNonsense)
	}
	if err != nil {
		c.refused(now, from, "an offer makes no sense", err)
		return
	}
	if h.Link != [2]uint32{} {
		c.boarded(now, from, got, h, message, byPath)
		return
	}
	if last, fresh := c.heard(from, h.Stamp); !fresh {
		// Recorded, or the peer's clock was set back: it learns what to begin with.
		c.counts.Stale++
		c.refuse(now, from, got, h.Index, hello{Refused: "stale", Last: last}, nil)
		return
	}
	if h.Refused != "" { // it offers nothing: see stray
		c.rebooted(now, from, h.Boot, true)
		return
	}
	c.rebooted(now, from, h.Boot, false)
	if why := c.unfit(h); why != "" {
		c.refuse(now, from, got, h.Index, hello{Refused: why}, nil)
		c.refused(now, from, why, nil)
		return
	}
	if k := c.dialling(from); k != nil {
		if c.cfg.identity.ID().Compare(from) > 0 {
			return // two dials cross: that of the greater ID is answered
		}
		k.yield(now, got, h, message)
		return
	}
	if !c.room(now, from, false) {
		c.counts.Flooded++
		return
	}
	c.newConnection(now, from, false, nil).wait(now, got, h, message)
}

// wait asks the user about an offer.
func (k *connection) wait(now time.Time, got *seal.Received, h *hello, message []byte) {
	k.take(got, h, message)
	k.setState(now, waiting)
	k.settle(now)
	if !k.c.cfg.ask {
		k.admit(now)
		return
	}
	k.c.notes.Push(note{kind: noteAsk, conn: k.number, peer: k.peer})
}

// rebooted ends the connections to a peer that knows nothing of them any more. onlyLost spares
// those that work: a program that hands over to another may let its connections go on.
func (c *control) rebooted(now time.Time, peer PeerID, boot uint64, onlyLost bool) {
	for _, k := range c.order() {
		switch {
		case k.peer != peer || k.boot == 0 || boot == 0 || k.boot == boot:
		case onlyLost && k.state != lost:
		case k.rides && k.state == dialing:
			k.alone(now, whyAlone)
		default:
			k.end(now, &PeerError{Peer: peer, Err: ErrPeerRestarted})
		}
	}
}

// unfit says why an offer cannot lead to a connection.
func (c *control) unfit(h *hello) string {
	switch {
	case h.Protocol != c.cfg.protocol:
		return fmt.Sprintf("protocol %q is not spoken here", h.Protocol)
	case h.Policy == DirectOnly && c.cfg.policy == RelayOnly, h.Policy == RelayOnly && c.cfg.policy == DirectOnly:
		return "one side wants direct paths only, and the other relayed ones only"
	case h.Plaintext != c.cfg.plaintext:
		return "one side wants plaintext, and the other does not"
	}
	return ""
}

// dialling returns our own dial of a peer that waits for an answer, and for a link.
func (c *control) dialling(peer PeerID) *connection {
	for _, k := range c.order() {
		if k.peer == peer && k.state == dialing && !k.rides {
			return k
		}
	}
	return nil
}

// refuse answers an offer that leads to nothing, by the link that it came by, if any. It
// makes no state.
func (c *control) refuse(now time.Time, to PeerID, got *seal.Received, index uint32, h hello, by *link) {
	h.Boot, h.Stamp = c.boot, c.nextStamp(to, c.cfg.wall(now))
	if message, _, err := got.Answer(encode(h)); err == nil {
		if message = wrap(msgAnswer, index, message); by == nil || !by.carry(now, message) {
			c.notes.Push(note{kind: noteSignal, peer: to, message: message})
		}
	}
}

func (c *control) refused(now time.Time, from PeerID, why string, err error) {
	c.tell(now, Event{Kind: EventRefused, Peer: from, Reason: why, Err: err})
}

// undecided reports whether a connection waits for an answer to noteAsk.
func (c *control) undecided(number uint32) bool {
	k := c.conns[number]
	return k != nil && k.state == waiting && !k.untold // else our user dials it
}

// decide answers noteAsk.
func (c *control) decide(now time.Time, number uint32, allowed bool) {
	c.enter(now)
	defer c.pump(now)
	if !c.undecided(number) {
		return
	}
	k := c.conns[number]
	if !allowed {
		var by *link
		if k.byPath {
			by = k.link
		}
		c.refuse(now, k.peer, k.received, k.theirs, hello{Refused: "not allowed"}, by)
		k.end(now, &PeerError{Peer: k.peer, Err: ErrNotAllowed})
		return
	}
	k.admit(now)
}
