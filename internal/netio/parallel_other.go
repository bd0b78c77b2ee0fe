//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package netio

import "errors"

// spreadPort fails: on Windows SO_REUSEADDR would let any program take the port
// over, and nothing says which socket gets what.
func spreadPort(uintptr) error { return errors.ErrUnsupported }
