package rendezvous

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/bradawl/bradawl/internal/ident"
)

// What goes over the wire.
const (
	// protocolVersion is what both sides name in the handshake.
	protocolVersion = 1
	// subprotocol is the WebSocket subprotocol (RFC 6455 section 1.9) by which
	// a client tells a rendezvous from another WebSocket server.
	subprotocol = "bradawl.rendezvous.v1"
	// maxFrame is the most bytes of one frame, in either direction.
	maxFrame = 64 << 10
	// MaxMessage is the most bytes of one opaque message. In base64 it leaves
	// the rest of a frame for names and keys.
	MaxMessage = 48000
	// MaxRoom is the most characters of a room's name.
	MaxRoom = 64

	// maxHello is the most bytes of the hello: who has not signed on yet gets
	// no more of the server's memory.
	maxHello = 4 << 10
)

// The types of frames. See the package comment for who sends which when.
const (
	typeChallenge = "challenge"
	typeHello     = "hello"
	typeWelcome   = "welcome"
	typeJoin      = "join"
	typeJoined    = "joined"
	typeUpdate    = "update"
	typeLeave     = "leave"
	typeLeft      = "left"
	typePaired    = "paired"
	typeSend      = "send"
	typeMessage   = "message"
	typeError     = "error"
	typePing      = "ping"
	typePong      = "pong"
	typeServers   = "servers"
)

// frame is every frame: one JSON object. Fields that a type does not use are
// absent; fields that the receiver does not know are passed over.
type frame struct {
	Type    string         `json:"type"`
	Version int            `json:"version,omitzero"` // challenge, hello, welcome
	Key     ident.PeerID   `json:"key,omitzero"`     // challenge: the server's public key
	Nonce   []byte         `json:"nonce,omitzero"`   // challenge: nonceSize random bytes
	Host    string         `json:"host,omitzero"`    // hello: the host that the client dialled
	Proof   []byte         `json:"proof,omitzero"`   // hello
	Address netip.AddrPort `json:"address,omitzero"` // welcome: the client's address, as the server sees it
	Room    string         `json:"room,omitzero"`
	Peer    ident.PeerID   `json:"peer,omitzero"`    // hello: who signs on; send: to whom; else: whom it is about
	Proven  bool           `json:"proven,omitzero"`  // welcome: you are; paired, message: the peer is
	Data    []byte         `json:"data,omitzero"`    // the opaque message; absent is not the same as empty
	Code    Code           `json:"code,omitzero"`    // error
	Reason  string         `json:"reason,omitzero"`  // error
	Servers []frameServer  `json:"servers,omitzero"` // welcome, servers
}

// frameServer is an ICEServer as a frame has it. Clocks differ, so it tells how
// long it is good for and not until when.
type frameServer struct {
	URIs       []string `json:"uris"`
	Username   string   `json:"username,omitzero"`
	Credential string   `json:"credential,omitzero"`
	TTL        int64    `json:"ttl,omitzero"` // seconds
}

// encode never fails: every field is of a type that json can write.
func (f *frame) encode() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic("rendezvous: " + err.Error())
	}
	return b
}

var (
	errFrameSize = errors.New("the frame is larger than 64 KiB")
	errDataSize  = errors.New("the frame's message is larger than 48000 bytes")
	errNoType    = errors.New("the frame has no type")
)

// decodeFrame reads one frame; what it returns does not alias data.
func decodeFrame(data []byte) (frame, error) {
	if len(data) > maxFrame {
		return frame{}, errFrameSize
	}
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return frame{}, err
	}
	switch {
	case f.Type == "":
		return frame{}, errNoType
	case len(f.Data) > MaxMessage:
		return frame{}, errDataSize
	}
	f.Address = netip.AddrPortFrom(f.Address.Addr().Unmap(), f.Address.Port())
	return f, nil
}

// frameCode is the close code for an error of decodeFrame.
func frameCode(err error) Code {
	if errors.Is(err, errFrameSize) || errors.Is(err, errDataSize) {
		return CodeTooLarge
	}
	return CodeBadFrame
}

// ValidRoom reports whether name can be a room's: 1 to MaxRoom characters of
// A-Z, a-z, 0-9, '.', '_' and '-'.
func ValidRoom(name string) bool {
	if name == "" || len(name) > MaxRoom {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

const roomRule = "is no room's name; give 1 to 64 characters of A-Z a-z 0-9 . _ -"

// maxReason is what a WebSocket close frame has room for (RFC 6455 section 5.5).
const maxReason = 123

// AppendClose appends the body of a WebSocket close frame (RFC 6455 section
// 5.5.1: the code in network byte order, then the reason) to b. Machines put
// it into the Data of the Close effect. A reason over 123 bytes is cut.
func AppendClose(b []byte, code Code, reason string) []byte {
	reason = strings.ToValidUTF8(reason, "?")
	if len(reason) > maxReason {
		n := maxReason
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// ParseClose reads what AppendClose wrote. It returns nil for a body without a
// code. Whoever connects machines directly gives the result to the other side
// as the Err of its Closed notice.
func ParseClose(body []byte) *CloseError {
	if len(body) < 2 {
		return nil
	}
	return &CloseError{Code: Code(binary.BigEndian.Uint16(body)), Reason: string(body[2:])}
}
