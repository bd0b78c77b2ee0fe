package wire

import "errors"

// What can be wrong with a message, for errors.Is.
var (
	// ErrNotSTUN: the bytes do not start like a STUN message (too short, reserved
	// bits set, or no magic cookie).
	ErrNotSTUN = errors.New("wire: not a STUN message")
	// ErrMalformed: it starts like a STUN message, but its lengths do not add up,
	// or something follows the FINGERPRINT.
	ErrMalformed = errors.New("wire: malformed STUN message")
	// ErrNoIntegrity: the message lacks the integrity attribute that was to be checked.
	ErrNoIntegrity = errors.New("wire: message has no integrity attribute")
	// ErrIntegrity: the message was changed, or another key was used.
	ErrIntegrity = errors.New("wire: message integrity check failed")
	// ErrNoFingerprint: the message has no FINGERPRINT.
	ErrNoFingerprint = errors.New("wire: message has no fingerprint")
	// ErrFingerprint: the FINGERPRINT does not fit the message.
	ErrFingerprint = errors.New("wire: fingerprint check failed")

	// ErrTooLong: a built message would exceed what its 16-bit length can say.
	ErrTooLong = errors.New("wire: message too long to be built")
	// ErrOrder: an attribute was added behind an integrity attribute or FINGERPRINT
	// where readers must ignore it.
	ErrOrder = errors.New("wire: attribute added after the message was closed by integrity or fingerprint")
	// ErrAddress: the zero netip.AddrPort was to be written as an address.
	ErrAddress = errors.New("wire: address to be written is not valid")
	// ErrCode: an error code outside 300-699 was to be written.
	ErrCode = errors.New("wire: error code outside 300-699")

	// ErrChannelData: bytes are no ChannelData message, or its number or length is out of range.
	ErrChannelData = errors.New("wire: not a ChannelData message")
)
