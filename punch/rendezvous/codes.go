package rendezvous

import "strconv"

// Code says why a rendezvous closed a connection or refused a request. Codes
// from 4000 to 4019 close the connection, as WebSocket close codes of the
// range for private use (RFC 6455 section 7.4.2); those from 4020 up come in
// an error frame, and the connection stays. Any other value is a WebSocket
// close code of RFC 6455 section 7.4.1.
type Code uint16

// Why a connection was closed.
const (
	CodeNormal         Code = 1000 // the client is done
	CodeShutdown       Code = 4000 // the server is shutting down; sign on again, to another node if there is one
	CodeHelloTimeout   Code = 4001 // the client did not sign on in time
	CodeIdle           Code = 4002 // nothing came from the client for too long
	CodeBadFrame       Code = 4003 // a frame was not one JSON object of the right form
	CodeTooLarge       Code = 4004 // a frame exceeded 64 KiB, or its message MaxMessage
	CodeUnexpected     Code = 4005 // a frame came before its turn
	CodeVersion        Code = 4006 // the two sides speak different versions
	CodeBadProof       Code = 4007 // the proof does not fit the peer ID, the challenge or the server's name
	CodeProofRequired  Code = 4008 // the server admits nobody without a proof
	CodeReplaced       Code = 4009 // the same peer signed on again, with proof, on a newer connection
	CodeDuplicate      Code = 4010 // the peer ID is signed on already, and no proof was given
	CodeTooManyClients Code = 4011 // too many connections, in total or from one address
	CodeRateLimited    Code = 4012 // the client sent frames too fast, or no end of what never became one
	CodeSlowReader     Code = 4013 // the client did not read what was sent to it
	CodeInternal       Code = 4014 // the server failed
	CodeCutOff         Code = 4015 // the server has lost the other nodes of the service; sign on again, to another one if there is one
)

// Why a request was refused.
const (
	CodeRoomFull     Code = 4020 // the room has all its members
	CodeBadRoom      Code = 4021 // the room's name is not of the form that ValidRoom wants
	CodeNotInRoom    Code = 4022 // the client is no member of the room
	CodeTooManyRooms Code = 4023 // too many rooms: in total, of this client or from its address
	CodeNoPeer       Code = 4024 // no such peer is signed on, or none that the client may write to
	CodePeerBusy     Code = 4025 // the peer gets too many messages from strangers; try again later
	CodeUnknownType  Code = 4026 // the server does not know frames of this type
	CodeServerFull   Code = 4027 // the server holds all the waiting messages that it can
	CodeUnreachable  Code = 4028 // the node that keeps the room is gone or does not answer: the client is no member; join again
)

var codeNames = map[Code]string{
	CodeNormal:         "normal",
	CodeShutdown:       "shutdown",
	CodeHelloTimeout:   "hello-timeout",
	CodeIdle:           "idle",
	CodeBadFrame:       "bad-frame",
	CodeTooLarge:       "too-large",
	CodeUnexpected:     "unexpected",
	CodeVersion:        "version",
	CodeBadProof:       "bad-proof",
	CodeProofRequired:  "proof-required",
	CodeReplaced:       "replaced",
	CodeDuplicate:      "duplicate",
	CodeTooManyClients: "too-many-clients",
	CodeRateLimited:    "rate-limited",
	CodeSlowReader:     "slow-reader",
	CodeInternal:       "internal",
	CodeCutOff:         "cut-off",
	CodeRoomFull:       "room-full",
	CodeBadRoom:        "bad-room",
	CodeNotInRoom:      "not-in-room",
	CodeTooManyRooms:   "too-many-rooms",
	CodeNoPeer:         "no-peer",
	CodePeerBusy:       "peer-busy",
	CodeUnknownType:    "unknown-type",
	CodeServerFull:     "server-full",
	CodeUnreachable:    "unreachable",
}

// String returns the code's name, or its number when it has none.
func (c Code) String() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return strconv.Itoa(int(c))
}
