package stats

import (
	"fmt"
	"slices"
)

// Stage is the part of a session that an event is about. It marshals as text; the zero
// value is none.
type Stage uint8

// The stages. A session succeeded if its connect did.
const (
	_            Stage = iota
	StageGather        // finding the addresses that the peer may reach
	StageSignal        // offer and answer, by the signalling
	StagePunch         // a direct path
	StageRelay         // a relayed path
	StageUpgrade       // from a relayed path that carried data to a direct one
	StageConnect       // the session as a whole: from the dial to the first path that carried data
)

var stages = []string{"", "gather", "signal", "punch", "relay", "upgrade", "connect"}

// String returns the stage in a word, such as "gather"; "" for none.
func (s Stage) String() string { return word(stages, s) }

// MarshalText returns what String does, or an error if s is none of the constants.
func (s Stage) MarshalText() ([]byte, error) { return marshal("stage", stages, s) }

// UnmarshalText reads what MarshalText wrote.
func (s *Stage) UnmarshalText(text []byte) error { return unmarshal("stage", stages, text, s) }

// Status is how a stage ended. It marshals as text; the zero value is none.
type Status uint8

// The statuses.
const (
	_               Status = iota
	StatusSuccess          // it did what it is for
	StatusFail             // it cannot: Reason says why
	StatusTimeOut          // its time was over
	StatusCancelled        // nobody wanted it any more; it counts neither for nor against anything
)

var statuses = []string{"", "success", "fail", "time_out", "cancelled"}

// String returns the status in a word, such as "time_out"; "" for none.
func (s Status) String() string { return word(statuses, s) }

// MarshalText returns what String does, or an error if s is none of the constants.
func (s Status) MarshalText() ([]byte, error) { return marshal("status", statuses, s) }

// UnmarshalText reads what MarshalText wrote.
func (s *Status) UnmarshalText(text []byte) error { return unmarshal("status", statuses, text, s) }

// PairKind says how the two addresses of a path were come by. The kinds have an order,
// and a path is of the greater kind of its two ends: one with a relay at either end is
// relayed. It marshals as text; the zero value is none.
type PairKind uint8

// The kinds of pairs, in their order.
const (
	_             PairKind = iota
	PairHost               // the host's own address
	PairSrflx              // what a STUN server saw
	PairPrflx              // what the peer saw
	PairMapped             // a router was asked for it: PCP, NAT-PMP, UPnP
	PairPredicted          // foretold from how the NAT gives out ports
	PairBirthday           // hit by many tries on either side
	PairRelay              // a TURN server's
)

var pairKinds = []string{"", "host", "srflx", "prflx", "mapped", "predicted", "birthday", "relay"}

// String returns the kind in a word, such as "srflx"; "" for none.
func (k PairKind) String() string { return word(pairKinds, k) }

// MarshalText returns what String does, or an error if k is none of the constants.
func (k PairKind) MarshalText() ([]byte, error) { return marshal("pair", pairKinds, k) }

// UnmarshalText reads what MarshalText wrote.
func (k *PairKind) UnmarshalText(text []byte) error { return unmarshal("pair", pairKinds, text, k) }

// Protocol is what a path's packets travel by; on a relayed one, that is the way to our
// relay. It marshals as text; the zero value is none.
type Protocol uint8

// The protocols.
const (
	_            Protocol = iota
	ProtocolUDP           // UDP
	ProtocolTCP           // TCP
	ProtocolTLS           // TLS over TCP, to a relay
	ProtocolDTLS          // DTLS over UDP, to a relay
)

var protocols = []string{"", "udp", "tcp", "tls", "dtls"}

// String returns the protocol in a word, such as "udp"; "" for none.
func (p Protocol) String() string { return word(protocols, p) }

// MarshalText returns what String does, or an error if p is none of the constants.
func (p Protocol) MarshalText() ([]byte, error) { return marshal("protocol", protocols, p) }

// UnmarshalText reads what MarshalText wrote.
func (p *Protocol) UnmarshalText(text []byte) error { return unmarshal("protocol", protocols, text, p) }

// word names v, whatever it is.
func word[T ~uint8](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("unknown(%d)", uint8(v))
}

// known reports whether v has a word.
func known[T ~uint8](words []string, v T) bool { return v > 0 && int(v) < len(words) }

func marshal[T ~uint8](field string, words []string, v T) ([]byte, error) {
	if v != 0 && !known(words, v) {
		return nil, badEvent(field, "%d is out of range; use one of the constants", uint8(v))
	}
	return []byte(words[v]), nil
}

func unmarshal[T ~uint8](field string, words []string, text []byte, to *T) error {
	i := slices.Index(words, string(text))
	if i < 0 {
		return badEvent(field, "%q is not known; want one of %q", cut(string(text)), words[1:])
	}
	*to = T(i)
	return nil
}
