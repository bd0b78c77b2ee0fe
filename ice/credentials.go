package ice

import (
	"fmt"
	"io"
)

// Credentials are what two agents sign their checks with (RFC 8445 section 5.3). The
// password is secret to them. Printing Credentials shows the fragment alone, whatever the
// verb; JSON has both, for signalling.
type Credentials struct {
	Ufrag string // user name fragment, 4 to 256 ice-chars (letters, digits, + and /)
	Pwd   string // password, 22 to 256 ice-chars
}

// CredentialsError says why credentials cannot be used. It holds no part of a password.
type CredentialsError struct {
	Field  string // "Ufrag" or "Pwd"
	Reason string // what is wrong with it, and what it should be
}

// Error names the field and the reason.
func (e *CredentialsError) Error() string { return "ice: credentials: " + e.Field + ": " + e.Reason }

// Check returns a *CredentialsError if c is not what RFC 8839 section 5.4 allows, or nil.
// A fragment of more than 32 characters passes, as it must be accepted, though none may
// be sent.
func (c Credentials) Check() error {
	switch {
	case len(c.Ufrag) < 4 || len(c.Ufrag) > 256 || !iceChars(c.Ufrag):
		return &CredentialsError{"Ufrag", fmt.Sprintf("%q is not 4 to 256 letters, digits, + and /; use the value of a=ice-ufrag", excerpt(c.Ufrag))}
	case len(c.Pwd) < 22 || len(c.Pwd) > 256 || !iceChars(c.Pwd):
		return &CredentialsError{"Pwd", fmt.Sprintf("its %d characters are not 22 to 256 letters, digits, + and /; use the value of a=ice-pwd", len(c.Pwd))}
	}
	return nil
}

// Format writes the fragment alone, for every verb.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "ice-ufrag:%s", excerpt(c.Ufrag)) }

// newCredentials draws a fragment of 48 and a password of 144 random bits; 24 and 128 are
// the least (RFC 8445 section 5.3). random is a source of secrets.
func newCredentials(random io.Reader) (Credentials, error) {
	var b [24]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Credentials{}, fmt.Errorf("ice: reading %d random bytes for new credentials: %w", len(b), err)
	}
	return Credentials{Ufrag: iceText(b[:6]), Pwd: iceText(b[6:])}, nil
}
