package ident

import "fmt"

// A PeerIDError says why a text or a byte string is no [PeerID].
type PeerIDError struct {
	Value  string // what was given: the text as it came, or the bytes in hexadecimal; at most 64 bytes of it
	Reason string // what is wrong with it, and what it should be
}

// Error names the value and the reason.
func (e *PeerIDError) Error() string {
	return fmt.Sprintf("PeerID %q %s", e.Value, e.Reason)
}

// peerIDError keeps at most 64 bytes of the value, so that a hostile one does
// not fill a log.
func peerIDError(value, format string, args ...any) error {
	const most = 64
	if len(value) > most {
		value = value[:most-3] + "..."
	}
	return &PeerIDError{Value: value, Reason: fmt.Sprintf(format, args...)}
}
