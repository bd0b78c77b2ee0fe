package turnclient

import "net"

// closedError is ErrClosed.
type closedError struct{}

func (closedError) Error() string        { return "turnclient: closed" }
func (closedError) Is(target error) bool { return target == net.ErrClosed }
