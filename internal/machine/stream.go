package machine

import "fmt"

// StreamQueue is how many bytes written to a stream may wait in its runner, in
// addition to what the system takes.
const StreamQueue = 256 << 10

// OverflowError says that a machine wrote more to a stream than the other side
// took: the runner has reset it.
type OverflowError struct {
	Stream StreamID
	Queued int // bytes that waited, with the write that was too much
}

// Error tells how much waited.
func (e *OverflowError) Error() string {
	return fmt.Sprintf("stream %d reset: %d bytes waited to be sent, more than %d; the other side takes too little", e.Stream, e.Queued, StreamQueue)
}
