package netio

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"strings"
)

// PortRange is the local ports that may be bound: Low to High, both included. The
// zero value leaves the choice to the system.
type PortRange struct{ Low, High uint16 }

// ParsePortRange reads "LOW-HIGH", as "40000-40099"; "" is the zero value.
func ParsePortRange(s string) (PortRange, error) {
	if s == "" {
		return PortRange{}, nil
	}
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		return PortRange{}, fmt.Errorf("netio: port range %q: want LOW-HIGH, as 40000-40099", s)
	}
	var r PortRange
	for _, p := range []struct {
		text string
		to   *uint16
	}{{low, &r.Low}, {high, &r.High}} {
		n, err := strconv.ParseUint(p.text, 10, 16)
		if err != nil || n == 0 {
			return PortRange{}, fmt.Errorf("netio: port range %q: %q is not a port; want 1 to 65535", s, p.text)
		}
		*p.to = uint16(n)
	}
	return r, r.Validate()
}

// Validate reports a range that holds no port.
func (r PortRange) Validate() error {
	if r != (PortRange{}) && (r.Low == 0 || r.Low > r.High) {
		return fmt.Errorf("netio: port range %v: the lower port must be at least 1 and at most the higher one", r)
	}
	return nil
}

// String writes the range as ParsePortRange reads it.
func (r PortRange) String() string {
	if r == (PortRange{}) {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// Try calls bind with the ports of the range in random order, each at most once,
// until one call returns nil. A port that is in use is passed over; any other error
// ends it as a *[PortError]. Where all are in use, the error is a
// *[PortsInUseError]. The zero value calls bind once, with port 0. A nil random
// draws from a source of its own.
func (r PortRange) Try(random *rand.Rand, bind func(port uint16) error) error {
	if r == (PortRange{}) {
		if err := bind(0); err != nil {
			return &PortError{Port: 0, Err: err}
		}
		return nil
	}
	if err := r.Validate(); err != nil {
		return err
	}
	intN := rand.IntN
	if random != nil {
		intN = random.IntN
	}
	// A shuffle that goes only as far as it is needed: most often one port.
	moved := make(map[int]int)
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	var err error
	for i, n := 0, int(r.High-r.Low)+1; i < n; i++ {
		j := i + intN(n-i)
		pick := at(j)
		moved[j] = at(i)
		port := r.Low + uint16(pick)
		if err = bind(port); err == nil {
			return nil
		}
		if !errors.Is(err, errAddrInUse) {
			return &PortError{Port: port, Err: err}
		}
	}
	return &PortsInUseError{Range: r, Err: err}
}

// PortError says that a local port cannot be bound, for another reason than that it
// is in use where there was a choice.
type PortError struct {
	Port uint16 // 0: any
	Err  error
}

// Error names the port and, as far as one is known, the remedy.
func (e *PortError) Error() string {
	remedy := ""
	if errors.Is(e.Err, fs.ErrPermission) {
		remedy = "; choose ports the program may bind: from 1024 up unless it has the right to the lower ones (CAP_NET_BIND_SERVICE on Linux)"
	}
	return fmt.Sprintf("netio: cannot bind local port %d: %v%s", e.Port, e.Err, remedy)
}

// Unwrap returns what the system said.
func (e *PortError) Unwrap() error { return e.Err }

// PortsInUseError says that every port of a range is in use.
type PortsInUseError struct {
	Range PortRange
	Err   error // what the system said of the port tried last
}

// Error names the range and the remedy.
func (e *PortsInUseError) Error() string {
	return fmt.Sprintf("netio: every local port of %v is in use; give a wider range, or end what uses it", e.Range)
}

// Unwrap returns what the system said.
func (e *PortsInUseError) Unwrap() error { return e.Err }
