package dashboard

import (
	"slices"

	"github.com/bradawl/bradawl/natprobe"
)

// classes are the names that NAT types have in reports and on the page, by natprobe.Type.
var classes = [...]string{
	natprobe.TypeUnknown: "unknown", natprobe.TypeOpen: "open", natprobe.TypeSymmetricFirewall: "firewall",
	natprobe.TypeFullCone: "full-cone", natprobe.TypeRestrictedCone: "restricted", natprobe.TypePortRestrictedCone: "port-restricted",
	natprobe.TypeSymmetric: "symmetric", natprobe.TypeUDPBlocked: "blocked",
}

// Class returns the name of a NAT type in reports and on the page: "full-cone", "restricted",
// "port-restricted", "symmetric", "open", "firewall", "blocked" or "unknown".
func Class(t natprobe.Type) string {
	if int(t) >= len(classes) {
		t = natprobe.TypeUnknown
	}
	return classes[t]
}

// ParseClass reads what Class wrote; false if text is no such name.
func ParseClass(text string) (natprobe.Type, bool) {
	i := slices.Index(classes[:], text)
	return natprobe.Type(max(i, 0)), i >= 0
}

// tally counts detectors by class.
type tally [len(classes)]uint32

func (t *tally) sum() (n uint32) {
	for _, c := range t {
		n += c
	}
	return n
}

func (t *tally) add(o *tally) {
	for i, c := range o {
		t[i] += c
	}
}
