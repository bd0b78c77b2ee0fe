package stats

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
)

// ID names an event or a session. It is random, so that it tells nothing and no two are
// the same; the zero value names none. As text it is 32 digits of lower-case hexadecimal.
type ID [16]byte

// NewID makes an ID from the next 16 bytes of r; nil means crypto/rand. The error is
// r's.
func NewID(r io.Reader) (ID, error) {
	if r == nil {
		r = rand.Reader
	}
	for {
		var id ID
		if _, err := io.ReadFull(r, id[:]); err != nil {
			return ID{}, fmt.Errorf("stats: reading %d random bytes for an ID: %w", len(id), err)
		}
		if !id.IsZero() {
			return id, nil
		}
	}
}

// ParseID reads what String wrote. The zero ID is refused.
func ParseID(text string) (ID, error) {
	var id ID
	if err := id.UnmarshalText([]byte(text)); err != nil {
		return ID{}, err
	}
	return id, nil
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the ID's text form.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText returns what String does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote. There is one text for each ID, so digits
// in upper case are refused, as is the zero ID.
func (id *ID) UnmarshalText(text []byte) error {
	var got ID
	if len(text) == hex.EncodedLen(len(got)) {
		if _, err := hex.Decode(got[:], text); err == nil && got.String() == string(text) && !got.IsZero() {
			*id = got
			return nil
		}
	}
	return fmt.Errorf("stats: %q is no ID; want 32 digits of lower-case hexadecimal, not all zero", cut(string(text)))
}
