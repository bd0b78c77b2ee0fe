package stats

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// binaryVersion is the first byte of whatever this package writes in binary. A later version
// that only appends to an event keeps it.
const binaryVersion = 1

// AppendBinary appends the event's compact form, 45 to 260 bytes, a third of its JSON, to b.
// It is always the same for the same event; like JSON it has the time in milliseconds and
// the latency in microseconds. The error is that of Validate, and b is then returned as it
// was.
func (e Event) AppendBinary(b []byte) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return b, err
	}
	b = append(b, binaryVersion)
	b = append(b, e.ID[:]...)
	b = append(b, e.Session[:]...)
	b = binary.AppendUvarint(b, uint64(e.Time.UnixMilli()))
	b = append(b, byte(e.Stage), byte(e.Status), byte(e.LocalNAT), byte(e.RemoteNAT), byte(e.Pair), byte(e.Protocol), byte(e.IPVersion))
	b = binary.AppendUvarint(b, uint64(e.Latency.Microseconds()))
	b = binary.AppendUvarint(b, uint64(e.Tries))
	for _, word := range [...]string{e.Group, e.Lane, e.Reason} {
		b = appendWord(b, word)
	}
	return b, nil
}

// MarshalBinary returns what AppendBinary appends.
func (e Event) MarshalBinary() ([]byte, error) { return e.AppendBinary(nil) }

// UnmarshalBinary reads what AppendBinary wrote, here or at a stranger's, and validates it.
// What a newer version has appended is passed over. The error is a *EventError, and leaves e
// as it was.
func (e *Event) UnmarshalBinary(data []byte) error {
	if len(data) > MaxEvent {
		return badEvent("", "%d bytes are too many; send at most %d", len(data), MaxEvent)
	}
	r := reader{rest: data}
	if version := r.byte(); version != binaryVersion || r.failed {
		return badEvent("", "binary form of version %d is not known; want %d: update whoever reads it", version, binaryVersion)
	}
	var got Event
	copy(got.ID[:], r.bytes(len(got.ID)))
	copy(got.Session[:], r.bytes(len(got.Session)))
	ms := r.uvarint()
	got.Time = time.UnixMilli(int64(min(ms, lastSecond*1000+999))).UTC()
	got.Stage, got.Status = Stage(r.byte()), Status(r.byte())
	got.LocalNAT, got.RemoteNAT = natprobe.Type(r.byte()), natprobe.Type(r.byte())
	got.Pair, got.Protocol, got.IPVersion = PairKind(r.byte()), Protocol(r.byte()), int(r.byte())
	got.Latency = time.Duration(min(r.uvarint(), uint64(MaxLatency/time.Microsecond)+1)) * time.Microsecond
	got.Tries = int(min(r.uvarint(), MaxTries+1))
	got.Group, got.Lane, got.Reason = r.word(), r.word(), r.word()
	switch {
	case r.failed:
		return badEvent("", "%d bytes end in the middle, or a word is too long", len(data))
	case ms > lastSecond*1000+999:
		return badEvent("time", "%d ms since 1970 is out of range; give one up to the year 9999", ms)
	}
	if err := got.Validate(); err != nil {
		return err
	}
	*e = got
	return nil
}

func appendWord(b []byte, word string) []byte {
	return append(append(b, byte(len(word))), word...)
}

// reader takes binary forms apart. What is missing fails all that follows.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n < 0 || n > len(r.rest) {
		r.failed = true
		return nil
	}
	got := r.rest[:n]
	r.rest = r.rest[n:]
	return got
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || r.failed {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads the number of elements that follow, of so many bytes each at least.
func (r *reader) count(least int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/least) {
		r.failed = true
		return 0
	}
	return int(n)
}

func (r *reader) float() float64 {
	if b := r.bytes(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) word() string {
	n := int(r.byte())
	if n > MaxWord {
		r.failed = true
		return ""
	}
	return string(r.bytes(n))
}

// version reads the first bytes of a form and says what is wrong with them.
func (r *reader) version(form byte, name string) error {
	switch version, got := r.byte(), r.byte(); {
	case r.failed || got != form:
		return fmt.Errorf("stats: this is no %s", name)
	case version != binaryVersion:
		return fmt.Errorf("stats: a %s of version %d is not known; want %d: update whoever reads it", name, version, binaryVersion)
	}
	return nil
}
