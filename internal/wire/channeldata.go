package wire

import "encoding/binary"

// Channel numbers that a client may bind (RFC 8656 section 12).
const (
	MinChannel = 0x4000
	MaxChannel = 0x4FFF
)

// ChannelDataHeaderSize is what a ChannelData message adds to its payload.
const ChannelDataHeaderSize = 4

// AppendChannelData appends a ChannelData message to dst. Over TCP and TLS the
// message is padded to a multiple of four bytes (stream true), over UDP it is not
// (RFC 8656 section 12.5). The error is ErrChannelData, when the channel is not
// within MinChannel and MaxChannel or the payload exceeds 65,535 bytes.
func AppendChannelData(dst []byte, channel uint16, payload []byte, stream bool) ([]byte, error) {
	if channel < MinChannel || channel > MaxChannel || len(payload) > 0xFFFF {
		return dst, ErrChannelData
	}
	dst = binary.BigEndian.AppendUint16(dst, channel)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	if stream {
		var zero [3]byte
		dst = append(dst, zero[:padded(len(payload))-len(payload)]...)
	}
	return dst, nil
}

// DecodeChannelData returns channel and payload of a ChannelData message. The
// payload is part of b. Bytes behind it are ignored, as they may be padding; one
// that is shorter than it says is refused with ErrChannelData, as are channels
// outside MinChannel to MaxChannel (RFC 8656 section 12.6).
func DecodeChannelData(b []byte) (channel uint16, payload []byte, err error) {
	if len(b) < ChannelDataHeaderSize {
		return 0, nil, ErrChannelData
	}
	channel = binary.BigEndian.Uint16(b)
	size := int(binary.BigEndian.Uint16(b[2:]))
	if channel < MinChannel || channel > MaxChannel || size > len(b)-ChannelDataHeaderSize {
		return 0, nil, ErrChannelData
	}
	return channel, b[ChannelDataHeaderSize:][:size:size], nil
}

// MessageSize returns how long the STUN or ChannelData message at the start of b is,
// without padding, by what it says itself: messages made here and written one behind the
// other can be told apart by it. It is at least 1, and may exceed len(b).
func MessageSize(b []byte) int {
	switch {
	case len(b) < 4:
		return max(len(b), 1)
	case b[0] < 4:
		return HeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	default:
		return ChannelDataHeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	}
}

// StreamFrame returns how many bytes the STUN or ChannelData message takes that
// starts at b on a stream, padding included; 0 if b is still too short to tell.
// It fails with ErrNotSTUN where neither starts: such a stream is out of step
// and must be closed (RFC 8656 section 12.5).
func StreamFrame(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, nil
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] < 4 && size%4 == 0:
		return HeaderSize + size, nil
	case b[0] >= MinChannel>>8 && b[0] <= MaxChannel>>8:
		return ChannelDataHeaderSize + padded(size), nil
	default:
		return 0, ErrNotSTUN
	}
}
