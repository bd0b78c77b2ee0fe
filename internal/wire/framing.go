package wire

import (
	"encoding/binary"
	"errors"
)

// frameHeader is what RFC 4571 puts before each frame: its length in two bytes.
const frameHeader = 2

// maxFrame is the longest frame that the header can tell.
const maxFrame = 1<<16 - 1

// ErrFrameTooLong says that a datagram does not fit into a frame.
var ErrFrameTooLong = errors.New("wire: more than 65,535 bytes do not fit into one frame over TCP; send less at a time")

// AppendFrame appends payload as one frame of RFC 4571 to dst. An empty payload is the
// null packet. It fails, and returns dst as it was, for more than 65,535 bytes.
func AppendFrame(dst, payload []byte) ([]byte, error) {
	if len(payload) > maxFrame {
		return dst, ErrFrameTooLong
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	return append(dst, payload...), nil
}

// Deframer cuts a stream of frames (RFC 4571 section 2) into their payloads, however the
// stream comes cut. Use it so:
//
//	d.Feed(b)
//	for frame, ok := d.Next(); ok; frame, ok = d.Next() {
//
// It copies only frames that come in pieces, into a buffer that is kept. That grows with
// what came, not with what a header promises, and holds one frame at most.
type Deframer struct {
	in      []byte // what was fed and not looked at
	partial []byte // the start of a frame, with its header
}

// Feed takes the next bytes of the stream. They belong to d until Next returned false.
func (d *Deframer) Feed(b []byte) { d.in = b }

// Next returns the payload of the next whole frame; false: more must be fed first. An
// empty payload is a null packet. The payload is valid until the next call.
func (d *Deframer) Next() (payload []byte, ok bool) {
	if len(d.partial) == 0 {
		if size := frameSize(d.in); size <= len(d.in) {
			payload, d.in = d.in[frameHeader:size:size], d.in[size:]
			return payload, true
		}
	}
	d.take(frameHeader)
	d.take(frameSize(d.partial))
	if len(d.partial) < frameSize(d.partial) {
		return nil, false
	}
	payload, d.partial = d.partial[frameHeader:], d.partial[:0]
	return payload, true
}

// take moves bytes to partial until it has size of them or none are left.
func (d *Deframer) take(size int) {
	n := min(max(0, size-len(d.partial)), len(d.in))
	d.partial, d.in = append(d.partial, d.in[:n]...), d.in[n:]
}

// frameSize returns how many bytes the frame that starts at b takes, with its header; more
// than b has where that is too short to tell.
func frameSize(b []byte) int {
	if len(b) < frameHeader {
		return frameHeader
	}
	return frameHeader + int(binary.BigEndian.Uint16(b))
}
