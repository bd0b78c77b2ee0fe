package natsbus

import (
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

// codecVersion is the first byte of all that goes over NATS. Nodes of different
// versions do not understand each other; give them different prefixes.
const codecVersion = 1

// What the second byte says.
const (
	formBatch = 'b' // messages to a room or a peer
	formReply = 'r' // the answer to a batch
	formHome  = 'h' // stored: which node is a room's home
	formFree  = 'f' // stored: the room has no home
	formAlive = 'a' // stored: the node is alive
	formDead  = 'd' // stored: the node is to be taken for dead
)

const (
	maxReason = 255
	// maxBatch is the most bytes of a batch, but for its last message: more than one
	// goes together only as long as there is less.
	maxBatch = 128 << 10
	// maxMessage is the most bytes that one message adds to a batch.
	maxMessage = binary.MaxVarintLen64 + 2 + 8 + 32 + 8 + 1 + rendezvous.MaxRoom +
		binary.MaxVarintLen32 + rendezvous.MaxMessage + 2 + 1 + maxReason
	maxHeader = 2 + nodeSize + 1 + 1 + rendezvous.MaxRoom
)

// nodeID names a node from the time when it joins the others until it is cut off
// or closed; it is random.
type nodeID [nodeSize]byte

const nodeSize = 16

// batch is what one node has for a room or a peer, in the order in which it was
// published.
type batch struct {
	from    nodeID
	topic   rendezvous.Topic
	entries []entry
}

// entry is one message. Numbers grow with every message of a node's, so that what
// is sent again is recognised.
type entry struct {
	number  uint64
	message rendezvous.BusMessage
}

// Bits of a message's flags.
const (
	flagProven = 1 << iota
	flagData   // there is Data, be it empty
	flagsKnown = flagProven | flagData
)

func appendBatch(b []byte, v batch) []byte {
	b = append(b, codecVersion, formBatch)
	b = append(b, v.from[:]...)
	if v.topic.Room != "" {
		b = append(b, 'r')
		b = appendText(b, v.topic.Room)
	} else {
		b = append(b, 'p')
		b = append(b, v.topic.Peer.Bytes()...)
	}
	for _, e := range v.entries {
		b = binary.AppendUvarint(b, e.number)
		b = appendMessage(b, e.message)
	}
	return b
}

func appendMessage(b []byte, m rendezvous.BusMessage) []byte {
	flags := byte(0)
	if m.From.Proven {
		flags |= flagProven
	}
	if m.Data != nil {
		flags |= flagData
	}
	b = append(b, byte(m.Kind), flags)
	b = binary.BigEndian.AppendUint64(b, m.To)
	b = append(b, m.From.Peer.Bytes()...)
	b = binary.BigEndian.AppendUint64(b, m.From.Session)
	b = appendText(b, m.Room)
	if m.Data != nil {
		b = binary.AppendUvarint(b, uint64(len(m.Data)))
		b = append(b, m.Data...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(m.Code))
	return appendText(b, strings.ToValidUTF8(m.Reason[:min(len(m.Reason), maxReason)], ""))
}

// appendText appends at most 255 bytes; the callers see to it that it is no more.
func appendText(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

var (
	errVersion = errors.New("is of another version, or no message of this bus")
	errForm    = errors.New("is not of the form that it should have")
)

// reader takes a message apart. After the first mistake everything is zero.
type reader struct {
	left []byte
	bad  bool
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.left)) {
		r.bad, r.left = true, nil
		return nil
	}
	b := r.left[:n:n]
	r.left = r.left[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint refuses longer forms of a number than need be: there is one form of
// every message.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.left)
	if n <= 0 || n > 1 && r.left[n-1] == 0 {
		r.bad, r.left = true, nil
		return 0
	}
	r.left = r.left[n:]
	return v
}

func (r *reader) text() string { return string(r.bytes(uint64(r.byte()))) }

func (r *reader) peer() ident.PeerID {
	key := r.bytes(32)
	if r.bad || [32]byte(key) == [32]byte{} {
		return ident.PeerID{}
	}
	p, err := ident.PeerIDFromBytes(key)
	if err != nil {
		r.bad = true
	}
	return p
}

func (r *reader) node() (n nodeID) {
	copy(n[:], r.bytes(nodeSize))
	return n
}

// open begins to read a message of a certain form.
func open(data []byte, form byte) (*reader, error) {
	switch {
	case len(data) < 2 || data[0] != codecVersion:
		return nil, errVersion
	case data[1] != form:
		return nil, errForm
	}
	return &reader{left: data[2:]}, nil
}

// decodeBatch reads a batch strictly: what it accepts, appendBatch would have
// written just so, and a machine need not fear. The messages alias data.
func decodeBatch(data []byte) (v batch, err error) {
	r, err := open(data, formBatch)
	if err != nil {
		return batch{}, err
	}
	v.from = r.node()
	switch r.byte() {
	case 'r':
		v.topic.Room = r.text()
		r.bad = r.bad || !rendezvous.ValidRoom(v.topic.Room)
	case 'p':
		v.topic.Peer = r.peer()
		r.bad = r.bad || v.topic.Peer.IsZero()
	default:
		r.bad = true
	}
	last := uint64(0)
	for !r.bad && (len(r.left) > 0 || len(v.entries) == 0) {
		e := entry{number: r.uvarint()}
		r.bad = r.bad || e.number <= last
		last = e.number
		e.message = r.message(v.topic)
		v.entries = append(v.entries, e)
	}
	if r.bad {
		return batch{}, errForm
	}
	return v, nil
}

func (r *reader) message(topic rendezvous.Topic) (m rendezvous.BusMessage) {
	m.Kind = rendezvous.BusKind(r.byte())
	flags := r.byte()
	m.To = r.uint64()
	m.From = rendezvous.BusMember{Peer: r.peer(), Session: r.uint64(), Proven: flags&flagProven != 0}
	m.Room = r.text()
	if flags&flagData != 0 {
		n := r.uvarint()
		if n > rendezvous.MaxMessage {
			r.bad = true
		}
		if m.Data = r.bytes(n); m.Data == nil && !r.bad {
			m.Data = []byte{}
		}
	}
	if code := r.bytes(2); code != nil {
		m.Code = rendezvous.Code(binary.BigEndian.Uint16(code))
	}
	m.Reason = r.text()
	toRoom := m.Kind >= rendezvous.BusJoin && m.Kind <= rendezvous.BusLeave
	toPeer := m.Kind >= rendezvous.BusJoined && m.Kind <= rendezvous.BusTaken
	switch {
	case flags&^flagsKnown != 0,
		topic.Room != "" && (!toRoom || m.Room != topic.Room || m.From.Peer.IsZero()),
		topic.Room == "" && !toPeer,
		m.Room != "" && !rendezvous.ValidRoom(m.Room),
		!utf8.ValidString(m.Reason):
		r.bad = true
	}
	return m
}

// answer is what the receiver of a batch says of it.
type answer byte

const (
	answerTaken   answer = iota + 1 // all of it, before now or now
	answerRefused                   // this node is not the home of the room
	answerBusy                      // the node has all that it can hold; later
)

func appendAnswer(b []byte, a answer) []byte { return append(b, codecVersion, formReply, byte(a)) }

func decodeAnswer(data []byte) (answer, error) {
	r, err := open(data, formReply)
	if err != nil {
		return 0, err
	}
	a := answer(r.byte())
	if r.bad || len(r.left) > 0 || a < answerTaken || a > answerBusy {
		return 0, errForm
	}
	return a, nil
}

// record is what is stored under a key: of a room formHome or formFree, of a node
// formAlive or formDead.
type record struct {
	form    byte
	home    nodeID
	attempt uint64 // counts what home has tried: tells a claim from an older one
}

func appendRecord(b []byte, v record) []byte {
	b = append(b, codecVersion, v.form)
	if v.form == formHome {
		b = append(b, v.home[:]...)
		b = binary.BigEndian.AppendUint64(b, v.attempt)
	}
	return b
}

func decodeRecord(data []byte) (v record, err error) {
	if len(data) < 2 || data[0] != codecVersion {
		return record{}, errVersion
	}
	r := &reader{left: data[2:]}
	switch v.form = data[1]; v.form {
	case formHome:
		v.home, v.attempt = r.node(), r.uint64()
	case formFree, formAlive, formDead:
	default:
		r.bad = true
	}
	if r.bad || len(r.left) > 0 {
		return record{}, errForm
	}
	return v, nil
}
