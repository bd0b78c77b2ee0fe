package dashboard

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bradawl/bradawl/stats"
)

// Config is what a [Dashboard] shows, and to whom. The zero value shows an empty page to this
// machine, and takes no reports.
type Config struct {
	// Recorder counts what became of attempts to connect. nil: one of the dashboard's own, of
	// stats.Config's defaults.
	Recorder *stats.Recorder
	// Verdicts says what is known of experiments, a JSON object each with the fields of
	// stats.Verdict. It is asked once each Interval. At most MaxVerdicts of MaxVerdict bytes are
	// shown. nil: none.
	Verdicts func() []json.Marshaler
	// Note is a line for the reader at the head of the page, of at most 300 characters, such as
	// what fleet it is.
	Note string

	// Tokens are what detectors may present as "Authorization: Bearer TOKEN": 16 to 256
	// letters, digits and - . _ ~ + / =, at most 100 of them. None: reports are refused.
	Tokens []string
	// Open takes reports without a token from this machine, if they call it by a name of
	// loopback. A proxy on the same machine is this machine.
	Open bool
	// Hosts are the names and addresses, without a port, by which the dashboard may be called
	// besides localhost, 127.0.0.1 and [::1]. Requests with another Host are refused, and so
	// are those of pages from elsewhere.
	Hosts []string

	// Locate finds the place of a detector that does not tell it from the address that it comes
	// from. It is called by many goroutines. The address is not kept. nil: they have none.
	Locate func(netip.Addr) (Place, bool)
	// Addr says what address a request is from: give one if there is a proxy before the
	// dashboard. nil: that of the connection.
	Addr func(*http.Request) netip.Addr

	// Interval is how often viewers are told what changed, 100 ms to 1 minute. 0: 5 seconds.
	Interval time.Duration
	// Expire is how long a detector counts after it was heard from, from an Interval to 24
	// hours. 0: 1 minute, or 3 Intervals if that is longer.
	Expire time.Duration

	// MaxDetectors is how many count at most; the reports of others are refused. Each takes
	// about 100 bytes. 0: 20,000.
	MaxDetectors int
	// MaxPlaces is how many places are told at most, those with the most detectors. 0: 2,000.
	MaxPlaces int
	// MaxViewers is how many pages may be open at a time. 0: 1,000.
	MaxViewers int
	// MaxReporters is how many WebSockets of detectors may be open at a time. 0: 20,000.
	MaxReporters int

	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

// FewDetectors is how many detectors a place must have to be told to anyone.
const FewDetectors = 5

// Limits of what Config.Verdicts returns.
const (
	MaxVerdicts = 8        // so many
	MaxVerdict  = 16 << 10 // bytes each
)

const (
	maxTokens = 100
	maxNote   = 300
	mostOf    = 1_000_000 // of anything that is counted
)

// settings is a Config that was checked.
type settings struct {
	Config
	tokens [][sha256.Size]byte
	hosts  map[string]bool
}

func (cfg Config) settings() (settings, error) {
	s := settings{Config: cfg, hosts: make(map[string]bool)}
	if s.Interval == 0 {
		s.Interval = 5 * time.Second
	}
	if s.Expire == 0 {
		s.Expire = max(time.Minute, 3*s.Interval)
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Addr == nil {
		s.Addr = remoteAddr
	}
	switch {
	case s.Interval < 100*time.Millisecond || s.Interval > time.Minute:
		return s, badConfig("Interval", "%v is out of range; give 100ms to 1m", s.Interval)
	case s.Expire < s.Interval || s.Expire > 24*time.Hour:
		return s, badConfig("Expire", "%v is out of range; give %v (Interval) to 24h", s.Expire, s.Interval)
	case !utf8.ValidString(cfg.Note) || utf8.RuneCountInString(cfg.Note) > maxNote:
		return s, badConfig("Note", "is no UTF-8 or too long; give at most %d characters", maxNote)
	case len(cfg.Tokens) > maxTokens:
		return s, badConfig("Tokens", "%d are too many; give at most %d", len(cfg.Tokens), maxTokens)
	}
	for _, n := range []struct {
		field     string
		value     *int
		otherwise int
	}{
		{"MaxDetectors", &s.MaxDetectors, 20_000}, {"MaxPlaces", &s.MaxPlaces, 2000}, {"MaxViewers", &s.MaxViewers, 1000},
		{"MaxReporters", &s.MaxReporters, 20_000},
	} {
		if *n.value < 0 || *n.value > mostOf {
			return s, badConfig(n.field, "%d is out of range; give 1 to %d, or 0 for %d", *n.value, mostOf, n.otherwise)
		}
		if *n.value == 0 {
			*n.value = n.otherwise
		}
	}
	for _, token := range cfg.Tokens {
		if !isToken(token) {
			return s, badConfig("Tokens", "one has %d characters or unfit ones; give 16 to 256 of A-Z a-z 0-9 - . _ ~ + / =", len(token))
		}
		s.tokens = append(s.tokens, sha256.Sum256([]byte(token)))
	}
	for _, host := range cfg.Hosts {
		name, ok := hostName(host)
		if !ok || name != strings.ToLower(strings.Trim(host, "[]")) {
			return s, badConfig("Hosts", "%q is no name or address; leave scheme, port and path out", cut(host))
		}
		s.hosts[name] = true
	}
	if s.Recorder == nil {
		var err error
		if s.Recorder, err = stats.NewRecorder(stats.Config{Now: s.Now}); err != nil {
			return s, badConfig("Recorder", "%v", err)
		}
	}
	return s, nil
}

// isToken reports whether text fits as a token (RFC 6750 section 2.1).
func isToken(text string) bool {
	for _, c := range []byte(text) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+/=", c) >= 0:
		default:
			return false
		}
	}
	return len(text) >= 16 && len(text) <= 256
}
