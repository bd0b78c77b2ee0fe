package stund

import (
	"bytes"
	"net/netip"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

// Faults are what a server can do wrong, for tests of clients. The zero value is a server
// without faults.
type Faults struct {
	IgnoreChange bool // answer as if CHANGE-REQUEST were not there
	RefuseChange int  // answer CHANGE-REQUEST with this error code; 0: do not
	DropChange   bool // do not answer CHANGE-REQUEST
	// RefusePadding answers PADDING with this error code; 0: do not.
	RefusePadding int

	// Other is named as OTHER-ADDRESS in place of the true one; the zero value: the true one.
	Other netip.AddrPort
	// Source answers what arrives at the first address from that of this index; 0: from where
	// it arrived.
	Source int
	// Rewrite changes the address in MAPPED-ADDRESS, as some NATs do; nil: it is true.
	Rewrite func(netip.AddrPort) netip.AddrPort
	// Refuse answers everything with this error code; 0: do not.
	Refuse int
	// Forge answers with another transaction ID.
	Forge bool
	// Silent holds for the requests that are not answered, by who sends them and the index
	// of the address that they arrive at; nil: all are.
	Silent func(from netip.AddrPort, at int, request *Request) bool
}

// Request is what Faults are told of a request.
type Request struct {
	ChangeIP, ChangePort bool // what CHANGE-REQUEST asks for
}

// SetFaults gives a server faults, for tests.
func (m *Machine) SetFaults(f Faults) { m.faults = &faulty{Faults: f} }

// faulty spoils answers.
type faulty struct {
	Faults
	out machine.Queue[machine.Transmit]
}

// apply spoils the answer to the request that m has just read.
func (f *faulty) apply(m *Machine, at machine.SocketID, remote netip.AddrPort) {
	t := m.out
	row := t.Socket - t.Socket%machine.SocketID(len(m.addrs))
	var r Request
	r.ChangeIP, r.ChangePort, _ = m.request.ChangeRequest()
	change := r.ChangeIP || r.ChangePort
	m.waiting = false
	refuse := f.Refuse
	switch {
	case f.Silent != nil && f.Silent(remote, int(at), &r),
		change && f.DropChange:
		return
	case m.request.Has(wire.AttrPadding) && f.RefusePadding != 0:
		refuse = f.RefusePadding
	case change && f.RefuseChange != 0:
		refuse = f.RefuseChange
		t.Socket = row + at
	case change && f.IgnoreChange:
		t.Socket = row + at
	case !change && at == 0 && f.Source != 0:
		t.Socket = row + machine.SocketID(f.Source)
	}
	id := m.request.TransactionID()
	if f.Forge {
		id[0]++
	}
	b := &m.reply
	if refuse != 0 {
		b.Reset(wire.BindingFailure, id)
		b.AddErrorCode(refuse, "Fault")
	} else {
		b.Reset(wire.BindingSuccess, id)
		b.AddXORAddress(wire.AttrXORMappedAddress, remote)
		mapped := remote
		if f.Rewrite != nil {
			mapped = f.Rewrite(remote)
		}
		b.AddAddress(wire.AttrMappedAddress, mapped)
		if f.Other.IsValid() {
			b.AddAddress(wire.AttrOtherAddress, f.Other)
		} else if len(m.addrs) == full {
			b.AddAddress(wire.AttrOtherAddress, m.addrs[at^addressBit^portBit])
		}
	}
	t.Data = bytes.Clone(b.Bytes())
	f.out.Push(t)
}
