package simnet

import (
	"fmt"
	"net/netip"
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

// part is what a behaviour sees of a remote endpoint.
func (b Behavior) part(remote netip.AddrPort) netip.AddrPort {
	switch b {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// Rules are how a NAT treats the flows of one transport. The zero value is a full
// cone that preserves ports.
type Rules struct {
	Mapping   Behavior   // default EndpointIndependent
	Filtering Behavior   // default EndpointIndependent
	Ports     PortPolicy // default: preserved
}

// Answer is what a NAT says to a packet that it does not let in.
type Answer uint8

// The answers that NATs are known to give.
const (
	Silence     Answer = iota // none, as RFC 5382 REQ 4 wants it at first
	Reset                     // a TCP reset
	Unreachable               // ICMP port unreachable
	Prohibited                // ICMP administratively prohibited
)

// NATConfig describes a NAT or a firewall. The zero value is a full-cone NAT that
// preserves ports.
type NATConfig struct {
	Mapping   Behavior   // default EndpointIndependent
	Filtering Behavior   // default EndpointIndependent
	Ports     PortPolicy // default: preserved
	// TCP are the rules for TCP, where they differ from the three fields above (RFC 5382
	// REQ 3b); nil: they do not.
	TCP *Rules
	// Inside is the prefix that the addresses of the hosts inside are taken from, the
	// first being the NAT's own; the zero value: the next free /24 of 192.168.0.0/16.
	Inside netip.Prefix
	// Arbitrary takes any of several outside addresses for each mapping; otherwise
	// an inside address keeps the one it got (RFC 4787 REQ 2).
	Arbitrary bool
	// Hairpin lets inside hosts reach each other by outside addresses. The packets
	// then come from the sender's outside address (RFC 4787 REQ 9a).
	Hairpin bool
	// Firewall filters and does not translate: the inside has public addresses. Mapping
	// and Ports then mean nothing.
	Firewall bool
	// BlockUDP drops all UDP.
	BlockUDP bool
	// Only443 drops everything but TCP to port 443 and what answers it.
	Only443 bool

	// Idle is how long a UDP flow outlives the last packet that refreshed it, and with
	// it the mapping it belongs to and what its filter allows; default 120 s.
	Idle time.Duration
	// IdleUnreplied is the same until the first packet came back; 0: Idle.
	IdleUnreplied time.Duration
	// IdleStream is the same once a flow that had been answered was used more than two
	// seconds after it began, as Linux tells streams from questions; 0: Idle.
	IdleStream time.Duration
	// Absolute ends a mapping at this age, used or not; 0: never.
	Absolute time.Duration
	// InboundRefresh lets inbound packets refresh, too; outbound ones always do
	// (RFC 4787 REQ 6).
	InboundRefresh bool
	// TCPIdle and TCPTransitory are the same for TCP: while a connection stands, and
	// before and after; defaults 2 h 4 min and 4 min (RFC 5382 REQ 5).
	TCPIdle, TCPTransitory time.Duration
	// TCPReset is how long a connection is remembered after a reset; 0: TCPTransitory,
	// negative: not at all.
	TCPReset time.Duration
	// TCPLoose takes up connections in their midst, as Linux does after it was started
	// anew; otherwise a segment of an unknown connection is dropped unless it is a SYN.
	TCPLoose bool
	// NoSimultaneousOpen drops a SYN that comes in where one went out and was not yet
	// answered, against RFC 5382 REQ 2.
	NoSimultaneousOpen bool

	// StrayUDP and StraySYN are what is said to the sender outside of a datagram or a
	// SYN that is not let in; default Silence.
	StrayUDP, StraySYN Answer
	// EchoLoss is the share of echo requests to its own outside address that the NAT
	// leaves unanswered, 0 to 1; default 0.
	EchoLoss float64
	// Prohibit tells the sender inside, by an ICMP error, that a packet was dropped
	// because it is forbidden or because there was no room (RFC 5508 REQ 8).
	Prohibit bool
	// Poison remembers each datagram that was not let in, for IdleUnreplied from the last
	// one, as Linux's connection tracking does where nothing drops it first: meanwhile no
	// new mapping towards its sender gets the port that it came to. (TCP leaves no such
	// entry there: the reset that answers a SYN clears it.)
	Poison bool
	// Table is how many mappings and poisoned ports there can be; what comes when it is
	// full is dropped. 0: 65536.
	Table int
}

// rules are those of a transport.
func (c *NATConfig) rules(proto Proto) Rules {
	if proto == TCP && c.TCP != nil {
		return *c.TCP
	}
	return Rules{c.Mapping, c.Filtering, c.Ports}
}

func (c NATConfig) withDefaults() (NATConfig, error) {
	for _, d := range [...]struct {
		of *time.Duration
		to time.Duration
	}{
		{&c.Idle, 120 * time.Second},
		{&c.TCPIdle, 2*time.Hour + 4*time.Minute},
		{&c.TCPTransitory, 4 * time.Minute},
	} {
		if *d.of == 0 {
			*d.of = d.to
		}
	}
	if c.IdleUnreplied == 0 {
		c.IdleUnreplied = c.Idle
	}
	if c.IdleStream == 0 {
		c.IdleStream = c.Idle
	}
	if c.TCPReset == 0 {
		c.TCPReset = c.TCPTransitory
	}
	if c.Table == 0 {
		c.Table = 65536
	}
	if c.StrayUDP == Reset {
		return c, fmt.Errorf("simnet: NAT cannot answer UDP by a TCP reset")
	}
	udp, err := c.rules(UDP).withDefaults(c.Firewall)
	if err != nil {
		return c, err
	}
	c.Mapping, c.Ports = udp.Mapping, udp.Ports
	if c.TCP != nil {
		tcp, err := c.TCP.withDefaults(c.Firewall)
		if err != nil {
			return c, err
		}
		c.TCP = &tcp
	}
	return c, nil
}

func (r Rules) withDefaults(firewall bool) (Rules, error) {
	if firewall {
		r.Mapping, r.Ports = EndpointIndependent, PortPolicy{}
	}
	var err error
	r.Ports, err = r.Ports.withDefaults(r.Mapping)
	return r, err
}
