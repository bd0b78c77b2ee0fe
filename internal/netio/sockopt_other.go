//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd && !windows

package netio

import "errors"

// errAddrInUse matches nothing.
var errAddrInUse = errors.New("address in use")

// transientErrnos is empty: nothing is known of this system's errors.
var transientErrnos []error

func reusePort(uintptr) error { return errors.ErrUnsupported }

func setReceiveOptions(uintptr) {}

func setSendOptions(uintptr, bool, SendOptions) (undo func(uintptr)) { return nil }

func readControl([]byte, *Meta) {}
