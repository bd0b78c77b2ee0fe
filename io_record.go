package bradawl

import (
	"crypto/rand"
	"io"
	"sync/atomic"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/turnclient"
)

// recordQueue is how many events wait for Config.Record.
const recordQueue = 256

// recorder hands events to Config.Record, on a goroutine of its own, so that what the user
// does with them holds up nothing.
type recorder struct {
	record func(stats.Event) // nil: nothing is recorded
	events chan stats.Event
	lost   atomic.Uint64
}

func newRecorder(record func(stats.Event)) *recorder {
	r := &recorder{record: record}
	if record != nil {
		r.events = make(chan stats.Event, recordQueue)
	}
	return r
}

// ids is where the IDs of events come from; nil: nothing is recorded.
func (r *recorder) ids() io.Reader {
	if r.record == nil {
		return nil
	}
	return rand.Reader
}

// run returns after close, when all that waited has been handed over.
func (r *recorder) run() {
	if r.record == nil {
		return
	}
	for e := range r.events {
		r.record(e)
	}
}

// put is for the loop.
func (r *recorder) put(e stats.Event) {
	select {
	case r.events <- e:
	default:
		r.lost.Add(1)
	}
}

// close is for when the loop has ended.
func (r *recorder) close() {
	if r.record != nil {
		close(r.events)
	}
}

// recordable says what is wrong with a group; nil: nothing.
func recordable(group string) error {
	e := stats.Event{
		ID: stats.ID{1}, Session: stats.ID{1}, Time: time.Unix(0, 0), Stage: stats.StageGather, Status: stats.StatusSuccess, Group: group,
	}
	return e.Validate()
}

// protocolOf is how a TURN server is reached.
func protocolOf(t turnclient.Transport) stats.Protocol {
	switch t {
	case turnclient.TCP:
		return stats.ProtocolTCP
	case turnclient.TLS:
		return stats.ProtocolTLS
	case turnclient.DTLS:
		return stats.ProtocolDTLS
	}
	return stats.ProtocolUDP
}
