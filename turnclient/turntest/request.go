package turntest

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Lifetimes of RFC 8656.
const (
	permissionLifetime = 300 * time.Second
	channelLifetime    = 600 * time.Second
	maxAnswers         = 1024
)

// user is who signed a request, and how.
type user struct {
	name   string
	key    []byte
	sha256 bool
}

// response is an answer in the making.
type response struct {
	s    *Server
	to   client
	id   wire.TransactionID
	user user
}

func (r *response) start(m *wire.Message, code int) {
	class := wire.Success
	if code != 0 {
		class = wire.Failure
	}
	r.s.b.Reset(wire.MessageType{Method: m.Method(), Class: class}, r.id)
	if code != 0 {
		r.s.b.AddErrorCode(code, "")
	}
}

func (r *response) send() {
	b := &r.s.b
	switch {
	case r.user.key == nil:
	case r.user.sha256:
		b.AddIntegritySHA256(r.user.key)
	default:
		b.AddIntegrity(r.user.key)
	}
	key := answer{r.to, r.id}
	s := r.s
	if len(s.recent) >= maxAnswers {
		delete(s.answers, s.recent[0])
		s.recent = s.recent[1:]
	}
	s.recent = append(s.recent, key)
	s.answers[key] = slices.Clone(b.Bytes())
	s.send(r.to, b.Bytes())
}

func (s *Server) fail(m *wire.Message, r *response, code int) {
	r.start(m, code)
	if code == wire.CodeTryAlternate {
		for _, a := range s.Alternate {
			s.b.AddAddress(wire.AttrAlternateServer, a)
		}
	}
	r.send()
}

func (s *Server) request(now time.Time, from client, m *wire.Message) {
	r := &response{s: s, to: from, id: m.TransactionID()}
	if b, ok := s.answers[answer{from, r.id}]; ok {
		s.send(from, b)
		return
	}
	if !s.authenticate(now, from, m, r) {
		return
	}
	if code := s.Refuse[m.Method()]; code != 0 {
		s.fail(m, r, code)
		return
	}
	if m.Method() == wire.ConnectionBind {
		s.bindConn(m, r)
		return
	}
	a := s.find(now, from)
	ticket, moving := m.Get(wire.AttrMobilityTicket)
	if m.Method() == wire.Refresh && moving {
		s.move(now, m, r, string(ticket))
		return
	}
	switch {
	case m.Method() == wire.Allocate && a != nil, m.Method() != wire.Allocate && a == nil:
		s.fail(m, r, wire.CodeAllocationMismatch)
		return
	case a != nil && a.user != r.user.name:
		s.fail(m, r, wire.CodeWrongCredentials)
		return
	}
	switch m.Method() {
	case wire.Allocate:
		s.allocate(now, m, r)
	case wire.Refresh:
		s.refresh(now, m, r, a)
	case wire.CreatePermission:
		s.permit(now, m, r, a)
	case wire.ChannelBind:
		s.bind(now, m, r, a)
	case wire.Connect:
		s.connect(now, m, r, a)
	default:
		s.fail(m, r, wire.CodeBadRequest)
	}
}

// authenticate checks a request as RFC 8489 section 9.2.4 says; false: it was answered.
func (s *Server) authenticate(now time.Time, from client, m *wire.Message, r *response) bool {
	if s.Users == nil {
		return true
	}
	if !m.Has(wire.AttrMessageIntegrity) && !m.Has(wire.AttrMessageIntegritySHA256) {
		s.challenge(now, m, r, wire.CodeUnauthenticated)
		return false
	}
	nonce, _ := m.Nonce()
	realm, _ := m.Realm()
	name, password, known := s.who(m)
	offered, hasList := m.Get(wire.AttrPasswordAlgorithms)
	chosen, hasChoice := m.Get(wire.AttrPasswordAlgorithm)
	algorithm := uint16(0)
	if hasList || hasChoice {
		var b wire.Builder
		b.Reset(wire.BindingRequest, wire.TransactionID{})
		b.AddPasswordAlgorithms(wire.AttrPasswordAlgorithms, wire.AlgorithmMD5, wire.AlgorithmSHA256)
		list, ok := wire.ParsePasswordAlgorithms(nil, chosen)
		if !s.SHA256 || !ok || len(list) != 1 || !bytes.Equal(offered, b.Bytes()[wire.HeaderSize+4:]) {
			s.fail(m, r, wire.CodeBadRequest)
			return false
		}
		algorithm = list[0]
	}
	u := user{name: name, sha256: m.Has(wire.AttrMessageIntegritySHA256)}
	if algorithm == wire.AlgorithmSHA256 {
		u.key = wire.LongTermKeySHA256(name, string(realm), password)
	} else {
		u.key = wire.LongTermKey(name, string(realm), password)
	}
	check := m.CheckIntegrity
	if u.sha256 {
		check = m.CheckIntegritySHA256
	}
	if !known || string(realm) != s.Realm || check(u.key) != nil {
		s.challenge(now, m, r, wire.CodeUnauthenticated)
		return false
	}
	lifetime := s.NonceLifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	if given, ok := s.nonces[string(nonce)]; !ok || now.Sub(given) >= lifetime {
		s.challenge(now, m, r, wire.CodeStaleNonce)
		return false
	}
	r.user = u
	return true
}

func (s *Server) who(m *wire.Message) (name, password string, ok bool) {
	if hash, has := m.Get(wire.AttrUserhash); has {
		for name, password := range s.Users {
			if bytes.Equal(hash, wire.UserHash(name, s.Realm)) {
				return name, password, true
			}
		}
		return "", "", false
	}
	b, _ := m.Username()
	password, ok = s.Users[string(b)]
	return string(b), password, ok
}

// challenge answers with a new nonce.
func (s *Server) challenge(now time.Time, m *wire.Message, r *response, code int) {
	var features uint32
	if s.SHA256 {
		features |= wire.FeaturePasswordAlgorithms
	}
	if s.Anonymous {
		features |= wire.FeatureUsernameAnonymity
	}
	id := s.id()
	nonce := hex.EncodeToString(id[:])
	if features != 0 {
		nonce = wire.NonceCookie(features) + nonce
	}
	s.nonces[nonce] = now
	r.start(m, code)
	s.b.AddString(wire.AttrRealm, s.Realm)
	s.b.AddString(wire.AttrNonce, nonce)
	if s.SHA256 {
		s.b.AddPasswordAlgorithms(wire.AttrPasswordAlgorithms, wire.AlgorithmMD5, wire.AlgorithmSHA256)
	}
	r.send()
}

func (s *Server) lifetime(m *wire.Message) time.Duration {
	most := s.Lifetime
	if most == 0 {
		most = 10 * time.Minute
	}
	if asked, ok := m.Lifetime(); ok {
		return min(max(time.Duration(asked)*time.Second, min(most, 10*time.Minute)), most)
	}
	return min(most, 10*time.Minute)
}

func (s *Server) allocate(now time.Time, m *wire.Message, r *response) {
	transport, ok := m.FirstByte(wire.AttrRequestedTransport)
	switch {
	case !ok:
		s.fail(m, r, wire.CodeBadRequest)
		return
	case transport == wire.ProtocolTCP && (s.Quota == 0 || s.Allocations(now) < s.Quota):
		s.allocateTCP(now, m, r)
		return
	case transport != wire.ProtocolUDP && transport != wire.ProtocolTCP:
		s.fail(m, r, wire.CodeUnsupportedTransport)
		return
	case s.NoDontFragment && m.Has(wire.AttrDontFragment):
		r.start(m, wire.CodeUnknownAttribute)
		s.b.AddUnknownAttributes([]wire.AttrType{wire.AttrDontFragment})
		r.send()
		return
	case s.Quota > 0 && s.Allocations(now) >= s.Quota:
		s.fail(m, r, wire.CodeAllocationQuota)
		return
	}
	addrs := []netip.Addr{s.Relay}
	_, both := m.FirstByte(wire.AttrAdditionalAddressFamily)
	if both {
		addrs = append(addrs, s.Relay6)
	} else if family, ok := m.FirstByte(wire.AttrRequestedAddressFamily); ok && family == wire.FamilyIPv6 {
		addrs = []netip.Addr{s.Relay6}
	}
	if addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() }); len(addrs) == 0 {
		s.fail(m, r, wire.CodeFamilyNotSupported)
		return
	}
	lifetime := s.lifetime(m)
	a := &allocation{
		client: r.to, user: r.user.name, expires: now.Add(lifetime), waiting: len(addrs),
		permits: make(map[netip.Addr]time.Time), numbers: make(map[uint16]*binding), peers: make(map[netip.AddrPort]*binding),
	}
	s.allocs[r.to] = a
	s.Made++
	ticket, wantsTicket := m.Get(wire.AttrMobilityTicket)
	if wantsTicket && s.Mobility && len(ticket) == 0 {
		id := s.id()
		a.ticket = string(id[:])
	}
	for _, ip := range addrs {
		relay := &relay{a: a, socket: s.next, addr: netip.AddrPortFrom(ip, 0)}
		s.next++
		s.relays[relay.socket] = relay
		a.relays = append(a.relays, relay)
		s.out.Push(machine.Transmit{Op: machine.OpenSocket, Socket: relay.socket, Local: relay.addr})
	}
	request := slices.Clone(m.Raw())
	a.reply = func(time.Time) {
		var m wire.Message
		if m.Decode(request) != nil {
			return
		}
		r.start(&m, 0)
		for _, relay := range a.relays {
			s.b.AddXORAddress(wire.AttrXORRelayedAddress, relay.addr)
		}
		if both && len(a.relays) == 1 { // RFC 8656 section 7.2
			missing := wire.FamilyIPv6
			if s.Relay6.IsValid() {
				missing = wire.FamilyIPv4
			}
			s.b.AddRaw(wire.AttrAddressErrorCode, []byte{missing, 0, wire.CodeFamilyNotSupported / 100, wire.CodeFamilyNotSupported % 100})
		}
		s.b.AddXORAddress(wire.AttrXORMappedAddress, r.to.remote)
		s.b.AddUint32(wire.AttrLifetime, uint32(lifetime/time.Second))
		if a.ticket != "" {
			s.b.AddString(wire.AttrMobilityTicket, a.ticket)
		}
		r.send()
	}
}

func (s *Server) refresh(now time.Time, m *wire.Message, r *response, a *allocation) {
	lifetime := s.lifetime(m)
	if asked, ok := m.Lifetime(); ok && asked == 0 {
		lifetime = 0
		s.drop(a)
	}
	a.expires = now.Add(lifetime)
	r.start(m, 0)
	s.b.AddUint32(wire.AttrLifetime, uint32(lifetime/time.Second))
	r.send()
}

// move gives an allocation to another 5-tuple (RFC 8016 section 3.2.2).
func (s *Server) move(now time.Time, m *wire.Message, r *response, ticket string) {
	if !s.Mobility {
		s.fail(m, r, wire.CodeMobilityForbidden)
		return
	}
	for _, a := range s.allocs {
		if a.ticket != ticket || !a.expires.After(now) {
			continue
		}
		switch {
		case a.client == r.to:
			s.fail(m, r, wire.CodeBadRequest)
		case a.user != r.user.name:
			s.fail(m, r, wire.CodeWrongCredentials)
		default:
			delete(s.allocs, a.client)
			s.settle(a)
			old := a.client
			a.client, a.former = r.to, &old
			s.former[old] = a
			s.allocs[r.to] = a
			id := s.id()
			a.ticket = string(id[:])
			lifetime := s.lifetime(m)
			a.expires = now.Add(lifetime)
			r.start(m, 0)
			s.b.AddUint32(wire.AttrLifetime, uint32(lifetime/time.Second))
			s.b.AddString(wire.AttrMobilityTicket, a.ticket)
			r.send()
		}
		return
	}
	s.fail(m, r, wire.CodeAllocationMismatch)
}

func (s *Server) permit(now time.Time, m *wire.Message, r *response, a *allocation) {
	peers, ok := m.AppendXORAddresses(nil, wire.AttrXORPeerAddress, 64)
	if !ok || len(peers) == 0 {
		s.fail(m, r, wire.CodeBadRequest)
		return
	}
	for _, p := range peers {
		if code := s.mayRelay(a, p.Addr()); code == wire.CodeForbidden && s.DenyWithoutCode {
			s.b.Reset(wire.MessageType{Method: m.Method(), Class: wire.Failure}, r.id)
			r.send()
			return
		} else if code != 0 {
			s.fail(m, r, code)
			return
		}
	}
	for _, p := range peers {
		a.permits[p.Addr()] = now.Add(permissionLifetime)
	}
	r.start(m, 0)
	r.send()
}

func (s *Server) mayRelay(a *allocation, ip netip.Addr) (code int) {
	if !slices.ContainsFunc(a.relays, func(r *relay) bool { return r.addr.Addr().Is4() == ip.Is4() }) {
		return wire.CodePeerFamilyMismatch
	}
	if s.Deny != nil && s.Deny(ip) {
		return wire.CodeForbidden
	}
	return 0
}

func (s *Server) bind(now time.Time, m *wire.Message, r *response, a *allocation) {
	number, ok := m.ChannelNumber()
	peer, has := m.XORPeerAddress()
	byNumber, byPeer := a.numbers[number], a.peers[peer]
	if !ok || !has || number < wire.MinChannel || number > wire.MaxChannel ||
		byNumber != nil && byNumber.until.After(now) && byNumber.peer != peer ||
		byPeer != nil && byPeer.until.After(now) && byPeer.number != number {
		s.fail(m, r, wire.CodeBadRequest)
		return
	}
	if code := s.mayRelay(a, peer.Addr()); code != 0 {
		s.fail(m, r, code)
		return
	}
	b := &binding{number: number, peer: peer, until: now.Add(channelLifetime)}
	a.numbers[number], a.peers[peer] = b, b
	a.permits[peer.Addr()] = now.Add(permissionLifetime)
	r.start(m, 0)
	r.send()
}
