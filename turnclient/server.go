package turnclient

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/ipcheck"
	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/internal/words"
)

// Transport is how a server is reached.
type Transport uint8

// The transports between client and server. What lies between server and peers is
// always UDP, except for TCP allocations (RFC 6062).
const (
	UDP  Transport = iota
	TCP            // turn:...?transport=tcp
	TLS            // turns:
	DTLS           // turns:...?transport=udp
)

var transportNames = words.Of[Transport]("udp", "tcp", "tls", "dtls")

// String returns the transport's name.
func (t Transport) String() string { return transportNames.String(t) }

// stream reports whether the transport keeps bytes in order and repeats them itself.
func (t Transport) stream() bool { return t == TCP || t == TLS }

// port is where servers are by default (RFC 8656 section 4.1, RFC 7350 section 4.6).
func (t Transport) port() uint16 {
	if t == TLS || t == DTLS {
		return 5349
	}
	return 3478
}

// Endpoint is one way to reach a server.
type Endpoint struct {
	Addr      netip.AddrPort
	Transport Transport
	Name      string // the host that the certificate must be for (TLS, DTLS); for messages otherwise

	// Host is host and port of a server on a stream that is not looked up here but by a
	// proxy. Addr is not valid then.
	Host string
}

// String names address, transport and host.
func (e Endpoint) String() string {
	if e.Host != "" {
		return fmt.Sprintf("%s over %v", e.Host, e.Transport)
	}
	s := fmt.Sprintf("%v over %v", e.Addr, e.Transport)
	if e.Name != "" && e.Name != e.Addr.Addr().String() {
		s = e.Name + " (" + s + ")"
	}
	return s
}

// Features are what a server was found to be able to, beyond what every one is.
type Features struct {
	SHA256       bool // requests are signed with SHA-256 (RFC 8489 section 14.6), not with SHA-1
	Userhash     bool // the user's name goes as a hash (RFC 8489 section 14.4)
	Mobility     bool // the allocation can be moved (RFC 8016); only where MachineConfig.Mobility asks
	DontFragment bool // datagrams are not fragmented; only where MachineConfig.DontFragment asks
}

func (a *allocation) features(s *server) Features {
	return Features{
		SHA256:   s.algorithm != 0,
		Userhash: s.cookie && s.auth.features&wire.FeatureUsernameAnonymity != 0,
		Mobility: a.ticket != nil, DontFragment: a.df,
	}
}

// missing says why a server gave no address of one family of two (RFC 8656 section
// 7.3); nil: it did not say, or there are both.
func (a *allocation) missing(s *server, msg *wire.Message) error {
	family, code, reason, ok := msg.AddressError()
	if !ok {
		return nil
	}
	name := "IPv4"
	if family == wire.FamilyIPv6 {
		name = "IPv6"
	}
	return &ServerError{Server: s.Endpoint, Op: "allocate " + name, Code: code, Reason: text(reason)}
}

// How long a server is left alone (RFC 8656 section 7.4).
const (
	holdFull     = time.Minute     // 486, 508
	holdMismatch = 2 * time.Minute // 437, three times over
	redirectSpan = 5 * time.Minute // RFC 8489 section 10: not to be sent to the same server again
	maxAlternate = 8               // servers that others named, kept at a time
)

// server is an endpoint with what is known of it.
type server struct {
	Endpoint
	auth
	holdUntil time.Time // not to be asked for an allocation before; zero: at once
	barred    bool      // not to be asked again at all
	why       error     // of the two
	tried     time.Time // when it was last asked for an allocation
	alternate bool      // another server named it
	retired   bool      // it is not among the configured ones any more
}

func (s *server) hold(until time.Time, why error) { s.holdUntil, s.why = until, why }
func (s *server) bar(why error)                   { s.barred, s.why = true, why }

// held says why the server is not to be asked for an allocation; nil: it may be.
func (s *server) held(now time.Time) error {
	switch {
	case s.barred:
		return &ServerError{Server: s.Endpoint, Op: "allocate", Err: fmt.Errorf("%w: it would fail again: %w", ErrHeld, s.why)}
	case now.Before(s.holdUntil):
		return &ServerError{Server: s.Endpoint, Op: "allocate", RetryAfter: s.holdUntil, Err: fmt.Errorf("%w, but in %v: %w",
			ErrHeld, s.holdUntil.Sub(now).Round(time.Second), s.why)}
	}
	return nil
}

// redirect returns the server that a signed 300 names, or why it is not to be
// followed (RFC 8489 section 10).
func (m *Machine) redirect(now time.Time, from *server, msg *wire.Message) (*server, error) {
	addrs, _ := msg.AppendAddresses(nil, wire.AttrAlternateServer, 4)
	var to netip.AddrPort
	for _, a := range addrs {
		if from.Host != "" || a.Addr().Is4() == from.Addr.Addr().Is4() {
			to = a
			break
		}
	}
	switch {
	case !to.IsValid() || to.Port() == 0:
		return nil, fmt.Errorf("it names no other server of this address family")
	case !ipcheck.Public(to.Addr()) && (from.Host != "" || ipcheck.Public(from.Addr.Addr())):
		return nil, fmt.Errorf("it names %v, which is not on the public internet", to)
	}
	e := Endpoint{Addr: to, Transport: from.Transport, Name: from.Name}
	if domain, ok := msg.Get(wire.AttrAlternateDomain); ok && len(domain) > 0 && len(domain) <= 255 {
		e.Name = string(domain)
	}
	alternates := 0
	m.forgetAlternates(now)
	for _, s := range m.servers {
		if s.Addr == e.Addr && s.Transport == e.Transport {
			if !s.tried.IsZero() && now.Sub(s.tried) < redirectSpan {
				return nil, fmt.Errorf("it names %v, which was asked less than %v ago", to, redirectSpan)
			}
			return s, nil
		}
		if s.alternate {
			alternates++
		}
	}
	if alternates >= maxAlternate {
		return nil, fmt.Errorf("it names %v, but %d servers were named by others already", to, alternates)
	}
	s := &server{Endpoint: e, alternate: true}
	s.auth = from.auth.forAlternate() // the same credentials MUST be used
	m.servers = append(m.servers, s)
	return s, nil
}

// maxRetired is how many servers are kept that are not to be asked any more.
const maxRetired = 2 * MaxServers

// SetServers replaces the servers of later attempts, as when they were looked up anew.
// What is known of those that stay is kept, so that one that is to be left alone still
// is (RFC 5928 section 3). Those that go serve the allocations that they gave. The error
// is a *ConfigError.
func (m *Machine) SetServers(now time.Time, servers []Endpoint) error {
	servers, err := checkServers(servers)
	if err != nil {
		return err
	}
	known := make(map[Endpoint]*server)
	for _, s := range m.servers {
		known[s.Endpoint] = s
	}
	var next []*server
	for _, e := range servers {
		s := known[e]
		if s == nil {
			s = m.newServer(e)
		}
		s.alternate, s.retired = false, false
		next = append(next, s)
		delete(known, e)
	}
	for _, s := range m.servers {
		if known[s.Endpoint] != nil {
			s.retired = s.retired || !s.alternate
			next = append(next, s)
		}
	}
	m.servers = next
	m.forgetAlternates(now)
	return nil
}

func (m *Machine) newServer(e Endpoint) *server {
	s := &server{Endpoint: e}
	if !m.cfg.Credentials.empty() {
		s.use(m.cfg.Credentials)
	}
	return s
}

// forgetAlternates forgets servers that others named, and retired ones, that nothing
// uses any more and nothing is to be remembered of.
func (m *Machine) forgetAlternates(now time.Time) {
	used := make(map[*server]bool)
	for _, a := range m.order {
		used[a.last] = true
		for _, t := range a.attempts {
			used[t.link.srv] = true
		}
	}
	retired := 0
	for _, s := range m.servers {
		if s.retired {
			retired++
		}
	}
	m.servers = slices.DeleteFunc(m.servers, func(s *server) bool {
		switch {
		case used[s]:
			return false
		case s.retired && (retired > maxRetired || !s.barred && !now.Before(s.holdUntil)):
			retired--
			return true
		}
		return s.alternate && now.Sub(s.tried) >= redirectSpan
	})
}
