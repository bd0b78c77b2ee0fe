package natsbus

import (
	"encoding/hex"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
)

// effectOp says what a node wants done by its shell.
type effectOp uint8

const (
	opJoin        effectOp = iota // open the store and listen, over and over, under a new nodeID: entered answers
	opPart                        // listen no longer under the nodeID
	opSubscribe                   // listen to what is published to peer
	opUnsubscribe                 // that no longer
	opAnswer                      // send data to the one who asked, at reply

	// What follows wants a reply, unless id is 0.

	opGet     // the record under key
	opPut     // data under key, if expect is its revision; 0: if there is none
	opAskNode // data to node
	opAskPeer // data to all who subscribe peer
	opSignOn  // data to all nodes in one order; once, however often it is sent
)

// effect is one of them.
type effect struct {
	op     effectOp
	id     uint64
	key    string
	expect uint64
	ttl    time.Duration
	node   nodeID
	peer   ident.PeerID
	number uint64 // opSignOn: with node it tells one from another
	reply  string
	data   []byte
}

// replyStatus is what became of an effect.
type replyStatus uint8

const (
	replyOK       replyStatus = iota
	replyNone                 // opGet: there is no such key
	replyConflict             // opPut: the revision is another one
	replyNobody               // there is nobody who would take it
	replyUnknown              // something went wrong: it may have been done or not
	replyLate                 // nothing has come; the same
)

// reply answers an effect.
type reply struct {
	status   replyStatus
	revision uint64 // of opGet, opPut and opSignOn
	data     []byte
}

// Keys of the store. Room names have dots, which mean something to NATS.
func roomKey(room string) string { return "room." + hex.EncodeToString([]byte(room)) }
func nodeKey(n nodeID) string    { return "node." + n.String() }

// String returns the ID in hexadecimal.
func (n nodeID) String() string { return hex.EncodeToString(n[:]) }
