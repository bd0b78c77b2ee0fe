package stund

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Machine answers Binding requests. Its addresses are
//
//	0  first address,  first port
//	1  first address,  second port
//	2  second address, first port
//	3  second address, second port
//
// so that bit 1 chooses the address and bit 0 the port. Its sockets go round them:
// machine.SocketID i is bound to address i modulo the number of addresses, so that
// each can have several sockets, in rows of one for each address. It has no events.
// It is not safe for concurrent use.
type Machine struct {
	addrs   []netip.AddrPort
	limit   limiter
	request wire.Message
	reply   wire.Builder
	unknown []wire.AttrType
	out     machine.Transmit
	waiting bool // out is to be sent
	streams streams
	classic bool // RFC 3489 clients are answered
	faults  *faulty
}

const (
	portBit    = 1
	addressBit = 2
	full       = 4 // addresses of a server that answers CHANGE-REQUEST

	// maxPadding bounds what PADDING makes us send: an Ethernet's frame is what RFC 5780
	// section 6.1 wants, and it is never more than the request had.
	maxPadding = 1500
)

// NewMachine returns a server on the addresses given, in their order: either all
// four, or one or two on one address, without CHANGE-REQUEST then. An
// address whose IP is unspecified is never told to clients. perSecond caps the
// answers to one source address (IPv6: one /64) a second; 0 or less: no cap. seed
// should be random; it hides which sources share a slot of the rate table.
func NewMachine(addrs []netip.AddrPort, perSecond int, seed uint64) (*Machine, error) {
	m := &Machine{limit: newLimiter(perSecond, seed), unknown: make([]wire.AttrType, 0, wire.MaxUnknown)}
	for _, a := range addrs {
		if !a.IsValid() || a.Port() == 0 {
			return nil, fmt.Errorf("%v is not the address of a socket", a)
		}
		m.addrs = append(m.addrs, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	switch a := m.addrs; len(a) {
	case 1, 2:
	case full:
		for i := range a {
			// RFC 5780 section 6: the same two ports on two addresses, or no CHANGE-REQUEST.
			if a[i].Addr() != a[i^portBit].Addr() || a[i].Port() != a[i^addressBit].Port() ||
				a[i].Addr() == a[i^addressBit].Addr() || a[i].Port() == a[i^portBit].Port() || a[i].Addr().IsUnspecified() {
				return nil, fmt.Errorf("%v are not two addresses with the same two ports each", a)
			}
		}
	default:
		return nil, fmt.Errorf("%d addresses given; a server has 1, 2 or 4", len(a))
	}
	return m, nil
}

// understood are the comprehension-required attributes of requests that are
// answered: those of RFC 8489 and then those of RFC 5780 (overUDP), of which
// CHANGE-REQUEST is last, for where there are other addresses.
var understood = []wire.AttrType{
	wire.AttrMappedAddress, wire.AttrUsername, wire.AttrErrorCode, wire.AttrUnknownAttributes, wire.AttrRealm,
	wire.AttrNonce, wire.AttrPasswordAlgorithm, wire.AttrUserhash, wire.AttrXORMappedAddress,
	wire.AttrPadding, wire.AttrResponsePort, wire.AttrChangeRequest,
}

// HandleDatagram answers a Binding request; PollTransmit then has the answer.
// Whatever else it is, is dropped.
func (m *Machine) HandleDatagram(now time.Time, d machine.Datagram) {
	m.waiting = false
	req := &m.request
	if !answerable(d.Remote) {
		return
	}
	if req.Decode(d.Data) != nil {
		if m.classic && req.DecodeClassic(d.Data) == nil {
			m.answerClassic(now, d)
		}
		return
	}
	if req.Type() != wire.BindingRequest {
		return
	}
	if req.Has(wire.AttrFingerprint) && req.CheckFingerprint() != nil {
		return // RFC 8489 section 7
	}
	if !m.limit.allow(now, d.Remote.Addr()) {
		return
	}

	at := d.Socket % machine.SocketID(len(m.addrs))
	from, to := at, d.Remote
	if ok := m.change(&from) && m.redirect(&to); !ok {
		from, to = at, d.Remote
		m.reply.Reset(wire.BindingFailure, req.TransactionID())
		m.reply.AddErrorCode(wire.CodeBadRequest, "Bad Request")
	} else if unknown := m.unknownAttributes(); len(unknown) > 0 {
		// RFC 8489 section 6.3.1.
		from, to = at, d.Remote
		m.reply.Reset(wire.BindingFailure, req.TransactionID())
		m.reply.AddErrorCode(wire.CodeUnknownAttribute, "Unknown Attribute")
		m.reply.AddUnknownAttributes(unknown)
	} else {
		m.success(at, from, d.Remote)
	}
	if req.Has(wire.AttrFingerprint) {
		m.reply.AddFingerprint()
	}
	row := d.Socket - at // any socket of the right address will do: one of the same row
	m.out = machine.Transmit{Op: machine.Send, Socket: row + from, Remote: to, Data: m.reply.Bytes()}
	if from == at {
		m.out.Local = d.Local // a server on 0.0.0.0 was asked at one of the host's addresses
	}
	m.waiting = true
	if m.faults != nil {
		m.faults.apply(m, at, d.Remote)
	}
}

// redirect sets the port of to where RESPONSE-PORT asks for another. It reports false
// where the attribute is malformed, or there is PADDING beside it, for that would make the
// answer a weapon (RFC 5780 sections 6.1 and 10).
func (m *Machine) redirect(to *netip.AddrPort) bool {
	if !m.request.Has(wire.AttrResponsePort) {
		return true
	}
	port, ok := m.request.ResponsePort()
	*to = netip.AddrPortFrom(to.Addr(), port)
	return ok && port != 0 && !m.request.Has(wire.AttrPadding)
}

// change sets from to the address that CHANGE-REQUEST asks to be answered from
// (RFC 5780 section 6.1). It reports false where the attribute is malformed.
func (m *Machine) change(from *machine.SocketID) bool {
	if len(m.addrs) < full || !m.request.Has(wire.AttrChangeRequest) {
		return true
	}
	ip, port, ok := m.request.ChangeRequest()
	if ip {
		*from ^= addressBit
	}
	if port {
		*from ^= portBit
	}
	return ok
}

func (m *Machine) unknownAttributes() []wire.AttrType {
	known := understood
	if len(m.addrs) < full {
		known = known[:len(known)-1] // without CHANGE-REQUEST
	}
	m.unknown = m.request.AppendUnknown(m.unknown[:0], known)
	return m.unknown
}

// success writes the answer to a request that came to address at from remote, to
// be sent from address from (RFC 5780 section 6.1; the addresses are its MUSTs).
func (m *Machine) success(at, from machine.SocketID, remote netip.AddrPort) {
	b := &m.reply
	b.Reset(wire.BindingSuccess, m.request.TransactionID())
	b.AddXORAddress(wire.AttrXORMappedAddress, remote)
	b.AddAddress(wire.AttrMappedAddress, remote)
	if origin := m.addrs[from]; !origin.Addr().IsUnspecified() {
		b.AddAddress(wire.AttrResponseOrigin, origin)
	}
	if len(m.addrs) == full {
		// Relative to the address that received, whatever CHANGE-REQUEST said.
		b.AddAddress(wire.AttrOtherAddress, m.addrs[at^addressBit^portBit])
	}
	if padding, ok := m.request.Padding(); ok {
		b.AddPadding(min(len(padding), maxPadding))
	}
}

// answerable tells whether an answer can be sent to remote and goes to one host.
func answerable(remote netip.AddrPort) bool {
	ip := remote.Addr()
	return ip.IsValid() && remote.Port() != 0 && !ip.IsUnspecified() && !ip.IsMulticast() &&
		ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// HandleTimeout ends silent streams.
func (m *Machine) HandleTimeout(now time.Time) {
	m.streams.expire(now)
}

// NextTimeout is when the first stream has been silent for too long; over UDP nothing is
// waited for.
func (m *Machine) NextTimeout() time.Time {
	return m.streams.next()
}

// PollTransmit returns the next answer.
func (m *Machine) PollTransmit() (machine.Transmit, bool) {
	if t, ok := m.streams.out.Pop(); ok {
		return t, true
	}
	if m.faults != nil {
		if t, ok := m.faults.out.Pop(); ok {
			return t, true
		}
	}
	if !m.waiting {
		return machine.Transmit{}, false
	}
	m.waiting = false
	return m.out, true
}

// PollEvent has no events.
func (m *Machine) PollEvent() (struct{}, bool) { return struct{}{}, false }
