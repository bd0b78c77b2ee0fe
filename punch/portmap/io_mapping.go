package portmap

import (
	"net/netip"
	"sync"
	"time"
)

// Mapping is a port that a router forwards to this host, for as long as it is not
// closed. Its methods may be called from any goroutine.
type Mapping struct {
	c       *Client
	id      MappingID
	request Request
	decided chan struct{} // closed when it is known whether there is a mapping
	gone    chan struct{} // closed when it has been deleted

	mu      sync.Mutex
	info    Info
	err     error
	known   bool
	closed  bool
	changes chan Info
}

// take takes in an event, on the loop.
func (m *Mapping) take(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Kind == EventGone {
		close(m.gone)
		if !m.closed {
			m.closed = true
			close(m.changes)
		}
	}
	if e.Kind != EventState || m.closed || e.State == Waiting && e.Err == nil {
		return
	}
	changed := m.info != e.Info
	m.info, m.err = e.Info, e.Err
	if e.State == Closed {
		m.info, m.err, m.closed = Info{}, ErrClosed, true
		close(m.changes)
	} else if m.known && changed {
		select {
		case <-m.changes: // the latest counts
		default:
		}
		m.changes <- m.info
	}
	if !m.known {
		m.known = true
		close(m.decided)
	}
}

// External is what reaches this host from outside; not valid while there is no mapping.
func (m *Mapping) External() netip.AddrPort { return m.Info().External }

// Info is what the mapping is; the zero value while there is none.
func (m *Mapping) Info() Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// Err is why there is no mapping now: a *MapError, or ErrClosed; nil while there is one.
func (m *Mapping) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Changes tells when Info has changed since Map returned: to another address, or to the
// zero value when the mapping was lost, until the router gives it again. Of changes that
// nobody took the last is kept. It is closed with the mapping.
func (m *Mapping) Changes() <-chan Info { return m.changes }

// Close deletes the mapping at the router, and returns when that has answered, or after
// some seconds without an answer. The error is nil.
func (m *Mapping) Close() error {
	if m.c.loop.Do(func(now time.Time) { m.c.m.Unmap(now, m.id) }) != nil {
		return nil // deleted with the client
	}
	select {
	case <-m.gone:
	case <-m.c.loop.Done():
	}
	return nil
}

// drop is Close without waiting for the router.
func (m *Mapping) drop() {
	m.c.loop.Post(func(now time.Time) { m.c.m.Unmap(now, m.id) })
}
