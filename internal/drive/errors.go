package drive

import "errors"

// ErrClosed is returned by [Loop.Do] when the loop was closed before the
// function ran.
var ErrClosed = errors.New("drive: the loop is closed")

var (
	errNoSocket    = errors.New("drive: no such socket")
	errInUse       = errors.New("drive: socket number already in use")
	errStreamInUse = errors.New("drive: stream number already in use")
	errNoStreams   = errors.New("drive: neither Options.Dial nor Options.Listeners is set")
	errNoListener  = errors.New("drive: no such listener")
	errNoDial      = errors.New("drive: Options.Dial is not set")
)
