package ice

import (
	"fmt"
	"math"
	"strings"
)

// InterfaceKind is what a network interface sends over.
type InterfaceKind uint8

// The kinds of interfaces.
const (
	UnknownInterface InterfaceKind = iota
	Wired
	WiFi
	Cellular
	VPN     // a tunnel over another interface
	Virtual // leads to software on this host: bridges, containers, virtual machines, loopback
)

var interfaceKinds = [...]struct {
	name  string
	worth float64
	radio bool // has a signal
}{
	UnknownInterface: {"unknown", 0.6, false},
	Wired:            {"wired", 1, false},
	WiFi:             {"wifi", 0.8, true},
	Cellular:         {"cellular", 0.6, true},
	VPN:              {"vpn", 0.5, false},
	Virtual:          {"virtual", 0.4, false},
}

// String returns a word such as "wired"; "unknown" for a kind that does not exist.
func (k InterfaceKind) String() string { return interfaceKinds[k.checked()].name }

func (k InterfaceKind) checked() InterfaceKind {
	if int(k) < len(interfaceKinds) {
		return k
	}
	return UnknownInterface
}

// InterfaceInfo is what is known of a network interface: from the system
// ([SystemInterfaces]), or from the application where it knows better. The zero value
// says that nothing is known.
type InterfaceInfo struct {
	Name string // as the system calls it
	// Network identifies the local network that the interface is in, for [History]. It is
	// opaque and not empty where it is known; equal for the same network and no other.
	Network string
	Kind    InterfaceKind
	Down    bool    // has no carrier
	Speed   float64 // bits per second; 0: unknown
	Loss    Reading // the part of packets that is lost or in error, 0 to 1
	Signal  Reading // of Wi-Fi and cellular, from 0, where it ends, to 1
}

const (
	unknownSpeed  = 100e6
	unknownLoss   = 0.0
	unknownSignal = 0.5

	// lossHalves is the loss that halves the quality: from there on a path is congested.
	lossHalves = 0.05
)

// Quality returns the interface's worth, 0 to 1; 0 if it is down. It is a product:
//
//	kind    1 wired, 0.8 Wi-Fi, 0.6 cellular, 0.6 unknown, 0.5 VPN, 0.4 virtual
//	speed   1/2 + log10(Mbit/s)/6, from 1/2 at 1 Mbit/s to 1 at 1 Gbit/s; unknown: 100 Mbit/s
//	loss    1/(1 + loss/0.05), so that 5 % halves it; unknown: none
//	signal  (1 + signal)/2 of Wi-Fi and cellular, 1 of others; unknown: 1/2
//
// So an interface that nothing is known of has Neutral, 0.5.
func (i InterfaceInfo) Quality() float64 {
	if i.Down {
		return 0
	}
	return interfaceKinds[i.Kind.checked()].worth * i.speedFactor() * i.lossFactor() * i.signalFactor()
}

func (i InterfaceInfo) speed() float64 {
	if !(i.Speed > 0) { // NaN is not
		return unknownSpeed
	}
	return i.Speed
}

func (i InterfaceInfo) speedFactor() float64 {
	return 0.5 + clamp(math.Log10(i.speed()/1e6), 0, 3)/6
}

func (i InterfaceInfo) lossFactor() float64 {
	return 1 / (1 + i.Loss.unit(unknownLoss)/lossHalves)
}

func (i InterfaceInfo) signalFactor() float64 {
	if !interfaceKinds[i.Kind.checked()].radio {
		return 1
	}
	return (1 + i.Signal.unit(unknownSignal)) / 2
}

// known reports whether anything is known that the quality depends on.
func (i InterfaceInfo) known() bool {
	return i.Kind.checked() != UnknownInterface || i.Down || i.Speed > 0 || i.Loss.known()
}

// String says what is known of the interface, each part with its factor of the quality.
func (i InterfaceInfo) String() string {
	kind := interfaceKinds[i.Kind.checked()]
	parts := []string{strings.TrimLeft(i.Name+" ", " ") + fmt.Sprintf("%s x%.2f", kind.name, kind.worth)}
	part := func(name string, known bool, format string, value, factor float64) {
		text := "unknown"
		if known {
			text = fmt.Sprintf(format, value)
		}
		parts = append(parts, fmt.Sprintf("%s %s x%.2f", name, text, factor))
	}
	part("speed", i.Speed > 0, "%.4g Mbit/s", i.Speed/1e6, i.speedFactor())
	part("loss", i.Loss.known(), "%.2g %%", 100*i.Loss.unit(0), i.lossFactor())
	if kind.radio {
		part("signal", i.Signal.known(), "%.0f %%", 100*i.Signal.unit(0), i.signalFactor())
	}
	if i.Down {
		parts = append(parts, "down x0")
	}
	return strings.Join(parts, ", ")
}
