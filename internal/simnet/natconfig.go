package simnet

import (
	"fmt"
	"time"
)

// Behavior is how much of the remote endpoint a NAT looks at, when it maps and
// when it filters (RFC 4787 4.1 and 5).
type Behavior uint8

// The behaviours of RFC 4787.
const (
	EndpointIndependent Behavior = iota
	AddressDependent
	AddressAndPortDependent
)

// String returns the field's abbreviation without its last letter: EI, AD, APD.
func (b Behavior) String() string {
	return [...]string{"EI", "AD", "APD"}[b]
}

// PortPolicy is how a NAT chooses the outside port of a new mapping.
type PortPolicy struct {
	Kind  PortKind
	Low   uint16 // least port given out; 0: 1024
	High  uint16 // greatest port given out; 0: 65535
	Delta int    // Sequential: the step, which may be negative; 0: 1
	Block int    // Block: ports in the block that one inside address gets; 0: 512

	// CrossTraffic is how many mappings a second other hosts behind the same
	// NAT make, on average. They take ports of Sequential and nothing else.
	CrossTraffic float64
	// Parity keeps an even port even and an odd one odd (RFC 4787 REQ 4).
	Parity bool
	// Contiguous gives inside port 2n+1 the port after the one that 2n has, where free.
	Contiguous bool
	// Overload lets mappings share an outside port as long as their remotes
	// differ, as Linux does. It needs AddressAndPortDependent mapping.
	Overload bool
}

// PortKind is the sort of a PortPolicy.
type PortKind uint8

// The sorts of port allocation.
const (
	Preserve   PortKind = iota // the inside port where free, else a random one
	Sequential                 // the last port given out plus Delta
	Random                     // any free port between Low and High
	Block                      // any free port of the inside address's block
)

// String returns the sort's name in lower case.
func (k PortKind) String() string {
	return [...]string{"preserve", "sequential", "random", "block"}[k]
}

// NATConfig describes a NAT or a firewall. The zero value is a full-cone NAT that
// preserves ports.
type NATConfig struct {
	Mapping   Behavior   // default EndpointIndependent
	Filtering Behavior   // default EndpointIndependent
	Ports     PortPolicy // default: preserved
	// Arbitrary takes any of several outside addresses for each mapping; otherwise
	// an inside address keeps the one it got (RFC 4787 REQ 2).
	Arbitrary bool
	// Hairpin lets inside hosts reach each other by outside addresses. The packets
	// then come from the sender's outside address (RFC 4787 REQ 9a).
	Hairpin bool
	// Firewall filters and does not translate: the inside has public addresses.
	Firewall bool
	// BlockUDP drops all UDP.
	BlockUDP bool
	// Only443 drops everything but TCP to port 443 and what answers it.
	Only443 bool

	// Idle is how long a UDP mapping, and each permission of its filter, outlives
	// the last packet that refreshed it; default 120 s.
	Idle time.Duration
	// IdleUnreplied is the same until the first packet came back; 0: Idle.
	IdleUnreplied time.Duration
	// Absolute ends a mapping at this age, used or not; 0: never.
	Absolute time.Duration
	// InboundRefresh lets inbound packets refresh, too; outbound ones always do
	// (RFC 4787 REQ 6).
	InboundRefresh bool
	// TCPIdle and TCPTransitory are the same for TCP: while a connection stands, and
	// before and after; defaults 2 h 4 min and 4 min (RFC 5382 REQ 5).
	TCPIdle, TCPTransitory time.Duration
	// ResetSYN answers a stray SYN with a reset; otherwise it is dropped silently,
	// as RFC 5382 REQ 4 wants it at first.
	ResetSYN bool
	// NoSimultaneousOpen drops a SYN that comes in where one went out, against RFC
	// 5382 REQ 2.
	NoSimultaneousOpen bool
	// Table is how many mappings there can be; what comes when it is full is
	// dropped. 0: 65536.
	Table int
}

func (c NATConfig) withDefaults() (NATConfig, error) {
	p := &c.Ports
	if p.Low == 0 {
		p.Low = 1024
	}
	if p.High == 0 {
		p.High = 65535
	}
	if p.Delta == 0 {
		p.Delta = 1
	}
	if p.Block == 0 {
		p.Block = 512
	}
	if c.Idle == 0 {
		c.Idle = 120 * time.Second
	}
	if c.IdleUnreplied == 0 {
		c.IdleUnreplied = c.Idle
	}
	if c.TCPIdle == 0 {
		c.TCPIdle = 2*time.Hour + 4*time.Minute
	}
	if c.TCPTransitory == 0 {
		c.TCPTransitory = 4 * time.Minute
	}
	if c.Table == 0 {
		c.Table = 65536
	}
	switch {
	case p.Low > p.High:
		return c, fmt.Errorf("simnet: NAT port range %d-%d is empty", p.Low, p.High)
	case p.Kind == Block && p.Block > int(p.High)-int(p.Low)+1:
		return c, fmt.Errorf("simnet: NAT block of %d ports does not fit into %d-%d", p.Block, p.Low, p.High)
	case p.Overload && c.Mapping != AddressAndPortDependent:
		return c, fmt.Errorf("simnet: NAT ports can be overloaded only under address-and-port-dependent mapping, not %v", c.Mapping)
	}
	return c, nil
}
