package natprobe

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/wire"
)

var (
	t0      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	local   = netip.MustParseAddrPort("10.0.0.2:5000")
	serverA = netip.MustParseAddrPort("192.0.2.1:3478")
	serverB = netip.MustParseAddrPort("198.51.100.1:3478")
	mapped  = netip.MustParseAddrPort("203.0.113.9:40001")
)

// bench runs a Reflexive in virtual time.
type bench struct {
	t      *testing.T
	m      *Reflexive
	now    time.Time
	sent   []sentRequest
	events []ReflexiveEvent
}

type sentRequest struct {
	at   time.Duration
	to   netip.AddrPort
	data []byte
}

// seeded is a repeatable source of transaction IDs.
func seeded(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func newBench(t *testing.T, cfg ReflexiveConfig, servers ...netip.AddrPort) *bench {
	t.Helper()
	cfg.Secrets = seeded(1)
	m, err := NewReflexive(servers, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, m: m, now: t0}
	m.Start(b.now, local)
	b.drain()
	return b
}

func (b *bench) drain() {
	machine.Drain(b.m, func(x machine.Transmit) {
		if x.Op != machine.Send || x.Socket != 0 {
			b.t.Fatalf("unexpected effect %+v", x)
		}
		b.sent = append(b.sent, sentRequest{b.now.Sub(t0), x.Remote, bytes.Clone(x.Data)})
	}, func(e ReflexiveEvent) { b.events = append(b.events, e) })
}

// until lets time pass up to and including at.
func (b *bench) until(at time.Duration) {
	for end := t0.Add(at); ; {
		next := b.m.NextTimeout()
		if next.IsZero() || next.After(end) {
			b.now = end
			return
		}
		b.now = next
		b.m.HandleTimeout(b.now)
		b.drain()
	}
}

func (b *bench) receive(from netip.AddrPort, data []byte) {
	b.m.HandleDatagram(b.now, machine.Datagram{Local: local, Remote: from, Data: data})
	b.drain()
}

// id returns the transaction ID of the last request to server.
func (b *bench) id(server netip.AddrPort) wire.TransactionID {
	for _, s := range slices.Backward(b.sent) {
		if s.to == server {
			return wire.TransactionID(s.data[8:20])
		}
	}
	b.t.Fatalf("nothing was sent to %v", server)
	return wire.TransactionID{}
}

// success returns a Binding success, with more attributes if add is given.
func success(id wire.TransactionID, add func(w *wire.Builder)) []byte {
	var w wire.Builder
	w.Reset(wire.BindingSuccess, id)
	if add == nil {
		add = func(w *wire.Builder) { w.AddXORAddress(wire.AttrXORMappedAddress, mapped) }
	}
	add(&w)
	return bytes.Clone(w.Bytes())
}

func (b *bench) only() Mapped {
	b.t.Helper()
	if len(b.events) != 1 || !b.events[0].Last || !b.m.NextTimeout().IsZero() {
		b.t.Fatalf("events %+v, next timeout %v; want one, the last", b.events, b.m.NextTimeout())
	}
	return b.events[0].Mapped
}

func failure(id wire.TransactionID, code int) []byte {
	var w wire.Builder
	w.Reset(wire.BindingFailure, id)
	w.AddErrorCode(code, "no")
	return bytes.Clone(w.Bytes())
}
