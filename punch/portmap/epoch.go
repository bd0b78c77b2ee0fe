package portmap

import "time"

// epoch compares how long a router says that it has run with how long it must have,
// for a router that has restarted has lost its mappings.
type epoch struct {
	known  bool
	server uint32
	client time.Time
}

// restarted takes in what a router says, and reports whether its state is lost
// (RFC 6887 section 8.5, whose test covers that of RFC 6886 section 3.6).
func (e *epoch) restarted(now time.Time, server uint32) bool {
	old := *e
	*e = epoch{true, server, now}
	if !old.known {
		return false
	}
	if uint64(server)+1 < uint64(old.server) {
		return true
	}
	client := int64(now.Sub(old.client) / time.Second)
	delta := int64(server) - int64(old.server)
	return client+2 < delta-delta/16 || delta+2 < client-client/16
}
