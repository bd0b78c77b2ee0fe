package turnclient

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bradawl/bradawl/internal/wire"
)

// Credentials are what a server knows its user by. Printing them shows no secret.
type Credentials struct {
	// Username and Password of the long-term mechanism (RFC 8489 section 9.2), in UTF-8
	// and composed form (NFC). Username is at most 508 bytes long.
	Username, Password string

	// AccessToken is an OAuth token that an authorization server made for the TURN
	// server (RFC 7635); Key is then the session key that came with it and takes the
	// place of Password, and Username is the key's ID. Nil: none.
	AccessToken, Key []byte
}

// Format implements fmt.Formatter and leaves the secrets out, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{Username:%q, secrets not shown}", c.Username)
}

func (c Credentials) empty() bool { return c.Username == "" }

func (c Credentials) equal(d Credentials) bool {
	return c.Username == d.Username && c.Password == d.Password &&
		bytes.Equal(c.AccessToken, d.AccessToken) && bytes.Equal(c.Key, d.Key)
}

const (
	maxUsername = 508 // RFC 8489 section 14.3: less than 509 bytes
	maxText     = 763 // sections 14.9 and 14.10: REALM and NONCE
	maxToken    = 4096
)

// prepare returns c with its strings in the form that is hashed, or a *ConfigError.
func (c Credentials) prepare() (Credentials, error) {
	var err error
	if c.Username == "" {
		return c, &ConfigError{"Credentials.Username", "is empty; give the name that Password belongs to"}
	}
	if c.Username, err = opaque(c.Username); err != nil || len(c.Username) > maxUsername {
		return c, &ConfigError{"Credentials.Username", "use 1 to 508 bytes of UTF-8 without control characters"}
	}
	if len(c.AccessToken) > 0 {
		if len(c.AccessToken) > maxToken || len(c.Key) == 0 {
			return c, &ConfigError{"Credentials.AccessToken", "give the token, at most 4096 bytes, and its session key in Key"}
		}
		return c, nil
	}
	if c.Password == "" {
		return c, &ConfigError{"Credentials.Password", "is empty; give the password that belongs to Username"}
	}
	if c.Password, err = opaque(c.Password); err != nil {
		return c, &ConfigError{"Credentials.Password", "use UTF-8 without control characters; it is not shown here"}
	}
	return c, nil
}

// opaque applies the parts of the OpaqueString profile (RFC 8265 section 4.2) that
// need no Unicode tables of normalisation: any space becomes the ASCII space, control
// characters are refused, and so is the empty string.
func opaque(s string) (string, error) {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return s, errors.New("not an OpaqueString")
	}
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, s), nil
}

// auth is the long-term credential mechanism towards one server (RFC 8489 section
// 9.2). Realm and nonce are kept, so that what follows takes one round trip.
type auth struct {
	realm    string
	nonce    []byte // the last one that the server gave to anybody of ours
	features uint32 // announced by its cookie
	cookie   bool
	offered  []byte // PASSWORD-ALGORITHMS as it came, to be echoed
	// algorithm is the password algorithm; 0: the server knows none by name, so it is
	// MD5, and MESSAGE-INTEGRITY. Any other means MESSAGE-INTEGRITY-SHA256.
	algorithm uint16

	login // the newest

	asking  bool
	waiting []*request // for credentials
}

// login is credentials as a server and the links to it have them. An allocation belongs to
// a user name (RFC 8656 section 5), and so does all that a link carries: newer ones are
// used on it only when the server rejects its own.
type login struct {
	creds   Credentials
	version int // counts those of a server; 0: there are none
}

// ready reports whether requests can be signed.
func (s *auth) ready() bool { return s.version > 0 && s.realm != "" }

func (s *auth) forAlternate() auth { return auth{login: s.login} }

// use takes new credentials.
func (s *auth) use(c Credentials) { s.login = login{c, s.version + 1} }

func (s *auth) newest() *login {
	as := s.login
	return &as
}

func (s *auth) keyOf(c Credentials) []byte {
	switch {
	case len(c.AccessToken) > 0:
		return c.Key
	case s.algorithm == wire.AlgorithmSHA256:
		return wire.LongTermKeySHA256(c.Username, s.realm, c.Password)
	default:
		return wire.LongTermKey(c.Username, s.realm, c.Password)
	}
}

// sign adds the credentials and the integrity attribute to a request, and returns how it
// was signed.
func (s *auth) sign(b *wire.Builder, as *login, nonce []byte) seal {
	k := seal{key: s.keyOf(as.creds), sha256: s.algorithm != 0, realm: s.realm, version: as.version}
	if len(as.creds.AccessToken) > 0 {
		b.AddRaw(wire.AttrAccessToken, as.creds.AccessToken)
	}
	if s.cookie && s.features&wire.FeatureUsernameAnonymity != 0 {
		b.AddRaw(wire.AttrUserhash, wire.UserHash(as.creds.Username, s.realm))
	} else {
		b.AddString(wire.AttrUsername, as.creds.Username)
	}
	b.AddString(wire.AttrRealm, s.realm)
	b.AddRaw(wire.AttrNonce, nonce)
	if !k.sha256 {
		b.AddIntegrity(k.key)
		return k
	}
	b.AddRaw(wire.AttrPasswordAlgorithms, s.offered)
	b.AddPasswordAlgorithms(wire.AttrPasswordAlgorithm, s.algorithm)
	b.AddIntegritySHA256(k.key)
	return k
}

// challenge takes in realm, nonce and algorithms of a 401 or 438. Its error ends the
// request, for a retry must not be made.
func (s *auth) challenge(msg *wire.Message) error {
	nonce, ok := msg.Nonce()
	if !ok || len(nonce) == 0 || len(nonce) > maxText {
		return errors.New("it gives no nonce to use")
	}
	features, cookie := wire.NonceFeatures(nonce)
	offered, hasList := msg.Get(wire.AttrPasswordAlgorithms)
	wantsList := cookie && features&wire.FeaturePasswordAlgorithms != 0
	switch {
	case wantsList != hasList:
		// Bit without list is RFC 8489 section 9.2.5. A list without the bit cannot
		// come from a server either, as it MUST set the bit (section 9.2.4).
		return ErrBidDown
	case s.cookie && (!cookie || s.features&^features != 0):
		return ErrBidDown // it was able to do more before
	}
	realm := s.realm
	if r, ok := msg.Realm(); ok && len(r) > 0 {
		if len(r) > maxText || !utf8.Valid(r) {
			return errors.New("its realm is no text")
		}
		realm = strings.Trim(string(r), `"`)
	}
	if realm == "" {
		return errors.New("it gives no realm")
	}
	var algorithm uint16
	if hasList {
		list, ok := wire.ParsePasswordAlgorithms(nil, offered)
		switch {
		case ok && slices.Contains(list, wire.AlgorithmSHA256):
			algorithm = wire.AlgorithmSHA256 // RFC 8656 section 6, whatever the order
		case ok && slices.Contains(list, wire.AlgorithmMD5):
			algorithm = wire.AlgorithmMD5
		default:
			return fmt.Errorf("it knows password algorithms %v only; 1 (MD5) and 2 (SHA-256) are known here", list)
		}
		if s.algorithm > algorithm {
			return ErrBidDown
		}
	}
	s.nonce, s.realm = bytes.Clone(nonce), realm
	s.cookie, s.features = cookie, features
	s.algorithm, s.offered = algorithm, bytes.Clone(offered)
	return nil
}

// lacksAlgorithms reports whether a response other than 401 and 438 must be ignored
// (RFC 8489 section 9.2.5).
func lacksAlgorithms(msg *wire.Message) bool {
	nonce, _ := msg.Nonce()
	features, ok := wire.NonceFeatures(nonce)
	return ok && features&wire.FeaturePasswordAlgorithms != 0 && !msg.Has(wire.AttrPasswordAlgorithms)
}

// seal is how a request was signed, and so how its answer must be.
type seal struct {
	key     []byte // nil: not at all
	sha256  bool
	realm   string
	version int // of the credentials
}

func (k seal) verify(msg *wire.Message) error {
	if k.sha256 {
		return msg.CheckIntegritySHA256(k.key)
	}
	return msg.CheckIntegrity(k.key)
}

// wantCredentials parks r until there are credentials for the server's realm.
func (m *Machine) wantCredentials(now time.Time, r *request, again bool) {
	s := r.link.srv
	s.waiting = append(s.waiting, r)
	if s.asking {
		return
	}
	s.asking = true
	m.events.Push(Event{Kind: EventCredentials, At: now, Allocation: r.link.a.id, Server: s.Endpoint, Realm: s.realm, Again: again})
}

// SetCredentials answers an EventCredentials, whose server is at. An err, or
// credentials that cannot be used, fail the requests that wait for them.
func (m *Machine) SetCredentials(now time.Time, at Endpoint, c Credentials, err error) {
	m.enter()
	for _, s := range m.servers {
		if s.Endpoint != at || !s.asking {
			continue
		}
		s.asking = false
		waiting := s.waiting
		s.waiting = nil
		if err == nil {
			c, err = c.prepare()
		}
		same := err == nil && s.version > 0 && c.equal(s.creds)
		if err == nil && !same {
			s.use(c)
		}
		for _, r := range waiting {
			switch {
			case r.ended:
			case err != nil:
				r.fail(now, 0, "", fmt.Errorf("%w: %w", ErrCredentials, err))
			case same && r.seal.version == s.version:
				r.fail(now, wire.CodeUnauthenticated, "", ErrCredentials)
			default:
				r.renew(now)
			}
		}
	}
}
