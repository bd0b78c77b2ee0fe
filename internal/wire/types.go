package wire

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/pion/stun/v3"
)

// The types of a STUN message. They are pion's, so that nobody else has to
// import it.
type (
	// MessageType is a method with a class.
	MessageType = stun.MessageType
	// Method is the 12-bit method of a message.
	Method = stun.Method
	// Class says whether a message is a request, an indication or a response.
	Class = stun.MessageClass
	// AttrType is the 16-bit type of an attribute. Types below 0x8000 are
	// comprehension-required.
	AttrType = stun.AttrType
)

// The four classes (RFC 8489 section 5).
const (
	Request    = stun.ClassRequest
	Indication = stun.ClassIndication
	Success    = stun.ClassSuccessResponse
	Failure    = stun.ClassErrorResponse
)

// Methods of RFC 8489, RFC 8656 and RFC 6062.
const (
	Binding           = stun.MethodBinding
	Allocate          = stun.MethodAllocate
	Refresh           = stun.MethodRefresh
	Send              = stun.MethodSend
	Data              = stun.MethodData
	CreatePermission  = stun.MethodCreatePermission
	ChannelBind       = stun.MethodChannelBind
	Connect           = stun.MethodConnect
	ConnectionBind    = stun.MethodConnectionBind
	ConnectionAttempt = stun.MethodConnectionAttempt
)

// The message types of a Binding transaction.
var (
	BindingRequest    = MessageType{Method: Binding, Class: Request}
	BindingIndication = MessageType{Method: Binding, Class: Indication}
	BindingSuccess    = MessageType{Method: Binding, Class: Success}
	BindingFailure    = MessageType{Method: Binding, Class: Failure}
)

// Attributes, by the RFC that says most about them.
const (
	// RFC 3489, and RFC 5780 for CHANGE-REQUEST.
	AttrMappedAddress   = stun.AttrMappedAddress
	AttrResponseAddress = AttrType(0x0002)
	AttrChangeRequest   = stun.AttrChangeRequest
	AttrSourceAddress   = stun.AttrSourceAddress
	AttrChangedAddress  = stun.AttrChangedAddress
	AttrReflectedFrom   = AttrType(0x000B)

	// RFC 8489.
	AttrUsername               = stun.AttrUsername
	AttrMessageIntegrity       = stun.AttrMessageIntegrity
	AttrErrorCode              = stun.AttrErrorCode
	AttrUnknownAttributes      = stun.AttrUnknownAttributes
	AttrRealm                  = stun.AttrRealm
	AttrNonce                  = stun.AttrNonce
	AttrMessageIntegritySHA256 = stun.AttrMessageIntegritySHA256
	AttrPasswordAlgorithm      = stun.AttrPasswordAlgorithm
	AttrUserhash               = stun.AttrUserhash
	AttrXORMappedAddress       = stun.AttrXORMappedAddress
	AttrPasswordAlgorithms     = stun.AttrPasswordAlgorithms
	AttrAlternateDomain        = stun.AttrAlternateDomain
	AttrSoftware               = stun.AttrSoftware
	AttrAlternateServer        = stun.AttrAlternateServer
	AttrFingerprint            = stun.AttrFingerprint

	// RFC 5780.
	AttrPadding        = stun.AttrPadding
	AttrResponsePort   = stun.AttrResponsePort
	AttrResponseOrigin = stun.AttrResponseOrigin
	AttrOtherAddress   = stun.AttrOtherAddress

	// RFC 8445.
	AttrPriority       = stun.AttrPriority
	AttrUseCandidate   = stun.AttrUseCandidate
	AttrICEControlled  = stun.AttrICEControlled
	AttrICEControlling = stun.AttrICEControlling

	// RFC 8656.
	AttrChannelNumber          = stun.AttrChannelNumber
	AttrLifetime               = stun.AttrLifetime
	AttrXORPeerAddress         = stun.AttrXORPeerAddress
	AttrData                   = stun.AttrData
	AttrXORRelayedAddress      = stun.AttrXORRelayedAddress
	AttrRequestedAddressFamily = stun.AttrRequestedAddressFamily
	AttrEvenPort               = stun.AttrEvenPort
	AttrRequestedTransport     = stun.AttrRequestedTransport
	AttrDontFragment           = stun.AttrDontFragment
	AttrReservationToken       = stun.AttrReservationToken

	// RFC 6062.
	AttrConnectionID = stun.AttrConnectionID

	// AttrPunchState is bradawl's own, carried by punch probes. It lies in the
	// comprehension-optional range that is not given out by the IETF, so others
	// ignore it.
	AttrPunchState = AttrType(0xF0AD)
)

// Error codes of RFC 8489 section 14.8, RFC 8445 and RFC 8656.
const (
	CodeTryAlternate         = 300
	CodeBadRequest           = 400
	CodeUnauthenticated      = 401
	CodeForbidden            = 403
	CodeUnknownAttribute     = 420
	CodeAllocationMismatch   = 437
	CodeStaleNonce           = 438
	CodeWrongCredentials     = 441
	CodeAllocationQuota      = 486
	CodeRoleConflict         = 487
	CodeServerError          = 500
	CodeInsufficientCapacity = 508
)

// Sizes of a message's parts in bytes, and the cookie that marks STUN since
// RFC 5389.
const (
	HeaderSize  = 20
	MagicCookie = 0x2112A442

	attrHeaderSize = 4
	maxBodySize    = 0xFFFC // the greatest multiple of four in a 16-bit length
)

// TransactionID names one transaction. It must be hard to guess, as it is all
// that keeps an outsider from answering (RFC 8489 section 6).
type TransactionID [12]byte

// NewTransactionID reads a transaction ID from r, which must be a
// cryptographically secure source outside tests. It fails only if r does.
func NewTransactionID(r io.Reader) (TransactionID, error) {
	var id TransactionID
	if _, err := io.ReadFull(r, id[:]); err != nil {
		return TransactionID{}, fmt.Errorf("wire: no randomness for a transaction ID: %w", err)
	}
	return id, nil
}

// String returns the ID in hexadecimal.
func (id TransactionID) String() string { return hex.EncodeToString(id[:]) }

func padded(n int) int { return (n + 3) &^ 3 }
