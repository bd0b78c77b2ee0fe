package fingerprint

import (
	"fmt"
	"math"
	"time"

	"github.com/bradawl/bradawl/internal/words"
	"github.com/bradawl/bradawl/natprobe"
)

// Label is the class of behaviour that a fingerprint shows: what the NAT does, and
// not whose it is. Fields of the zero value are unknown. TTLDelta has no part in
// it, as it tells where the NAT is. Labels are comparable by ==.
type Label struct {
	Filtering natprobe.Filtering
	Ports     PortClass
	Lifetime  LifetimeClass
	Echo      EchoClass
}

// PortClass says how often a NAT keeps the local port.
type PortClass uint8

// The classes of PortPreserve.
const (
	PortsUnknown PortClass = iota
	PortsKept              // by at least four mappings of five
	PortsMixed             // by some
	PortsChanged           // by at most one mapping of five
)

// LifetimeClass grades the life of an idle UDP mapping by RFC 4787 REQ-5. As lifetimes
// are measured to a tenth, so much less will do.
type LifetimeClass uint8

// The classes of MappingLifetime.
const (
	LifetimeUnknown     LifetimeClass = iota
	LifetimeShort                     // less than the 2 minutes that a NAT MUST keep to
	LifetimeAllowed                   // less than the 5 minutes that are RECOMMENDED
	LifetimeRecommended               // 5 minutes or more
)

// EchoClass says whether a NAT answers ICMP echo requests on its outside.
type EchoClass uint8

// The classes of ICMPEchoRate.
const (
	EchoUnknown EchoClass = iota
	EchoAnswers           // at least nine of ten
	EchoLimited           // some: a rate limit, or a lossy path
	EchoSilent            // at most one of ten
)

var (
	portsWords    = words.Of[PortClass]("unknown", "kept", "mixed", "changed")
	lifetimeWords = words.Of[LifetimeClass]("unknown", "short", "allowed", "recommended")
	echoWords     = words.Of[EchoClass]("unknown", "answers", "limited", "silent")
)

// String returns the class in a word.
func (p PortClass) String() string { return portsWords.String(p) }

// String returns the class in a word.
func (l LifetimeClass) String() string { return lifetimeWords.String(l) }

// String returns the class in a word.
func (e EchoClass) String() string { return echoWords.String(e) }

// String returns the label in one line, such as
// "filtering=address_dependent ports=kept lifetime=short echo=silent".
func (l Label) String() string {
	return fmt.Sprintf("filtering=%v ports=%v lifetime=%v echo=%v", l.Filtering, l.Ports, l.Lifetime, l.Echo)
}

// LabelOf returns the label of a vector, or of a cluster's center; a masked
// dimension gives unknown.
func LabelOf(v Vector) (l Label) {
	if x, ok := v.Get(FilteringBehavior); ok {
		l.Filtering = natprobe.Filtering(math.Round(x)) // 1 to 3, as Set sees to
	}
	if x, ok := v.Get(PortPreserve); ok {
		l.Ports = grade(x, 0.8, 0.2, PortsKept, PortsMixed, PortsChanged)
	}
	if x, ok := v.Get(MappingLifetime); ok {
		const minute = float64(time.Minute / time.Millisecond)
		l.Lifetime = LifetimeRecommended
		switch {
		case x < 0.9*2*minute:
			l.Lifetime = LifetimeShort
		case x < 0.9*5*minute:
			l.Lifetime = LifetimeAllowed
		}
	}
	if x, ok := v.Get(ICMPEchoRate); ok {
		l.Echo = grade(x, 0.9, 0.1, EchoAnswers, EchoLimited, EchoSilent)
	}
	return l
}

func grade[T any](x, high, low float64, most, some, few T) T {
	switch {
	case x >= high:
		return most
	case x > low:
		return some
	}
	return few
}
