package rendezvous

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
)

// MaxICEServers is the most STUN and TURN servers that a rendezvous hands out.
const MaxICEServers = 32

const (
	minTURNLifetime = time.Minute
	maxTTL          = 365 * 24 * time.Hour // what a client believes
	maxURI          = 300                  // bytes; a host name has at most 253
	maxCredential   = 512                  // bytes; RFC 8489 section 14.3: a username has less than 509
)

// ICEServer is a set of STUN or TURN servers that a rendezvous offers to its
// client. What fmt prints of it leaves the credential out.
type ICEServer struct {
	// URIs name the servers: stun:HOST[:PORT] or stuns: (RFC 7064),
	// turn:HOST[:PORT][?transport=udp|tcp] or turns: (RFC 7065). They are of
	// that form, whatever the server sent. At least one.
	URIs []string

	// Username and Credential are for TURN's long-term mechanism (RFC 8489
	// section 9.2); the credential is the password. Both are "" for STUN.
	Username   string
	Credential string

	// Expires is when they are no longer good for an allocation, by the
	// client's own clock. Zero: never.
	Expires time.Time
}

// Format implements fmt.Formatter: no verb prints the credential.
func (s ICEServer) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, strings.Join(s.URIs, ","))
	if s.Username != "" {
		fmt.Fprintf(f, " as %q", s.Username)
	}
	if !s.Expires.IsZero() {
		fmt.Fprintf(f, " until %s", s.Expires.UTC().Format(time.RFC3339))
	}
}

// iceServers is what a server hands out.
type iceServers struct {
	stun, turn []string
	lifetime   time.Duration
	// password is a func so that no way of printing a server shows the secret.
	password func(username string) string
}

// newICEServers reads cfg, which is valid, and takes the secret out of it.
func newICEServers(cfg *ServerConfig) iceServers {
	s := iceServers{lifetime: cfg.TURNLifetime}
	for _, uri := range cfg.ICEServers {
		uri = lowerScheme(uri)
		if isTURN(uri) {
			s.turn = append(s.turn, uri)
		} else {
			s.stun = append(s.stun, uri)
		}
	}
	secret := []byte(cfg.TURNSecret)
	cfg.TURNSecret = ""
	s.password = func(username string) string {
		mac := hmac.New(sha1.New, secret) // as the TURN servers compute it
		mac.Write([]byte(username))
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return s
}

// forClient returns what peer may use. The credentials are those of the TURN
// REST API (draft-uberti-behave-turn-rest-00), which any TURN server that knows
// the secret can check by itself: the username is the time of expiry in Unix
// seconds, a colon, and who it was made for. An unproven peer gets none: they
// would name somebody who has not asked for them.
func (s *iceServers) forClient(now time.Time, peer ident.PeerID, proven bool) []frameServer {
	var list []frameServer
	if len(s.stun) > 0 {
		list = append(list, frameServer{URIs: s.stun})
	}
	if len(s.turn) > 0 && proven {
		username := strconv.FormatInt(now.Add(s.lifetime).Unix(), 10) + ":" + peer.Short()
		list = append(list, frameServer{
			URIs: s.turn, Username: username, Credential: s.password(username), TTL: int64(s.lifetime / time.Second),
		})
	}
	return list
}

// readICEServers reads what a server handed out. URIs that are not of the form
// are passed over: a newer server may have other kinds. What it returns is
// bounded, whatever the server sent.
func readICEServers(now time.Time, list []frameServer) []ICEServer {
	var servers []ICEServer
	left := MaxICEServers
	for _, f := range list {
		if len(f.Username) > maxCredential || len(f.Credential) > maxCredential {
			continue
		}
		s := ICEServer{Username: f.Username, Credential: f.Credential}
		for _, uri := range f.URIs {
			if left > 0 && checkURI(uri) == "" {
				s.URIs = append(s.URIs, lowerScheme(uri))
				left--
			}
		}
		if f.TTL > 0 {
			s.Expires = now.Add(time.Duration(min(f.TTL, int64(maxTTL/time.Second))) * time.Second)
		}
		if len(s.URIs) > 0 {
			servers = append(servers, s)
		}
	}
	return servers
}

// cloneICEServers copies a list that others may change.
func cloneICEServers(list []ICEServer) []ICEServer {
	list = slices.Clone(list)
	for i := range list {
		list[i].URIs = slices.Clone(list[i].URIs)
	}
	return list
}

// lowerScheme spares the readers of a URI that schemes have no case (RFC 3986
// section 3.1).
func lowerScheme(uri string) string {
	scheme, rest, _ := strings.Cut(uri, ":")
	return strings.ToLower(scheme) + ":" + rest
}

func isTURN(uri string) bool {
	uri = lowerScheme(uri)
	return strings.HasPrefix(uri, "turn:") || strings.HasPrefix(uri, "turns:")
}

// checkURI returns what is wrong with a STUN or TURN URI (RFC 7064 section 3.1,
// RFC 7065 section 3.1) and how to put it right; "" if nothing is. Of RFC 3986's
// names for hosts it takes those that the DNS can have.
func checkURI(uri string) string {
	const form = "give stun:HOST[:PORT] or turn:HOST[:PORT][?transport=udp|tcp], with stuns or turns for TLS"
	scheme, rest, ok := strings.Cut(uri, ":")
	scheme = strings.ToLower(scheme)
	switch {
	case len(uri) > maxURI:
		return "is too long; " + form
	case !ok, scheme != "stun" && scheme != "stuns" && !isTURN(uri):
		return "has no scheme of a STUN or TURN server; " + form
	case strings.HasPrefix(rest, "//"):
		return "has slashes, which these schemes do not; " + form
	}
	address, query, asks := strings.Cut(rest, "?")
	transport, named := strings.CutPrefix(query, "transport=")
	switch {
	case asks && !isTURN(uri):
		return "has a query, which a STUN server's URI does not; " + form
	case asks && (!named || transport != "udp" && transport != "tcp"):
		return "asks for an unknown transport; " + form
	}
	host, port := address, ""
	if end := strings.LastIndexByte(address, ']'); strings.HasPrefix(address, "[") && end > 0 {
		// An IPv6 address; a zone would mean something here only.
		ip, err := netip.ParseAddr(address[1:end])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "has no IPv6 address between the brackets; " + form
		}
		host, port = "", address[end+1:]
	} else {
		if i := strings.IndexByte(address, ':'); i >= 0 {
			host, port = address[:i], address[i:]
		}
		if !validHost(host) {
			return "names no host; " + form + ", with an IPv6 address in brackets"
		}
	}
	if port != "" {
		digits, colon := strings.CutPrefix(port, ":")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !colon || err != nil || n == 0 || n > math.MaxUint16 {
			return "has no port from 1 to 65535 after the host; " + form
		}
	}
	return ""
}

// validHost reports whether host is an IPv4 address or a name that the DNS can
// have (RFC 1123 section 2.1, with the underscore that is in use).
func validHost(host string) bool {
	if len(host) > 253 {
		return false
	}
	label, last := "", ""
	for rest, more := strings.TrimSuffix(host, "."), true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" { // no top-level domain is a number
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Is4()
	}
	return true
}
