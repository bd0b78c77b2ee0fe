package stund

import (
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// ServeClassic has the server answer clients of RFC 3489 as well, whose messages have no
// magic cookie.
func (m *Machine) ServeClassic() { m.classic = true }

// understoodClassic are the attributes of RFC 3489 requests that are answered.
// RESPONSE-ADDRESS is not among them: it would send answers to anybody.
var understoodClassic = []wire.AttrType{wire.AttrUsername, wire.AttrChangeRequest}

// answerClassic answers a request of RFC 3489 (section 8.1).
func (m *Machine) answerClassic(now time.Time, d machine.Datagram) {
	req := &m.request
	if req.Type() != wire.BindingRequest || !m.limit.allow(now, d.Remote.Addr()) {
		return
	}
	at := d.Socket % machine.SocketID(len(m.addrs))
	from := at
	known := understoodClassic
	if len(m.addrs) < full {
		known = known[:1] // without CHANGE-REQUEST
	}
	b := &m.reply
	m.unknown = req.AppendUnknown(m.unknown[:0], known)
	switch ok := m.change(&from); {
	case len(m.unknown) > 0:
		from = at
		b.ResetClassic(wire.BindingFailure, req.ClassicID())
		b.AddErrorCode(wire.CodeUnknownAttribute, "Unknown Attribute")
		b.AddUnknownAttributes(m.unknown)
	case !ok:
		from = at
		b.ResetClassic(wire.BindingFailure, req.ClassicID())
		b.AddErrorCode(wire.CodeBadRequest, "Bad Request")
	default:
		b.ResetClassic(wire.BindingSuccess, req.ClassicID())
		b.AddAddress(wire.AttrMappedAddress, d.Remote)
		if source := m.addrs[from]; !source.Addr().IsUnspecified() {
			b.AddAddress(wire.AttrSourceAddress, source)
		}
		if len(m.addrs) == full {
			b.AddAddress(wire.AttrChangedAddress, m.addrs[at^addressBit^portBit])
		}
	}
	m.out = machine.Transmit{Op: machine.Send, Socket: d.Socket - at + from, Remote: d.Remote, Data: b.Bytes()}
	m.waiting = true
}
