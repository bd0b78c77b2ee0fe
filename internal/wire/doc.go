// Package wire reads and writes what bradawl puts on the wire: STUN messages
// (RFC 8489, RFC 5389 and, where asked for, classic RFC 3489), TURN ChannelData
// (RFC 8656 section 12.4), and the first-byte rules that tell protocols on one
// port apart (RFC 7983, RFC 9443).
//
// It is the only package that imports github.com/pion/stun/v3. It takes the
// types, the numbers and the CRC from there and has a decoder, getters, an
// HMAC and a builder of its own, because in v3.1.7 of that library
//
//   - MessageIntegrity.Check rewrites the header of the message that it checks
//     and computes the HMAC in the slack behind it;
//   - attributes after MESSAGE-INTEGRITY are honoured unless a strict mode is
//     asked for, and the reserved top bits, a length that is no multiple of four
//     and bytes behind the message are accepted in every mode;
//   - Message.Add silently truncates a value or a message that is too long for
//     its 16-bit length field, and XORMappedAddress accepts truncated addresses;
//   - CHANGE-REQUEST, RESPONSE-PORT, the RFC 3489 attributes and
//     MESSAGE-INTEGRITY-SHA256 have a number only, and most setters allocate.
//
// A [Message] looks at the bytes of a datagram without copying them; a
// [Builder] writes into a buffer of its own. Both are meant to be kept and
// reused, and then do not allocate. Neither is safe for concurrent use; separate
// values share nothing.
package wire
