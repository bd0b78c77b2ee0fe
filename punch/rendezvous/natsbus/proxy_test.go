package natsbus

import (
	"io"
	"net"
	"sync"
	"testing"
)

// line is a TCP proxy that can be cut.
type line struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu      sync.Mutex
	cut     bool
	stalled chan struct{} // nil: it is not; closed when it ends
	conns   map[net.Conn]struct{}
}

func newLine(t testing.TB, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{listener: l, to: to, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		l.Close()
		p.set(true)
		p.wg.Wait()
	})
	return p
}

func (p *line) url() string { return "nats://" + p.listener.Addr().String() }

func (p *line) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			near.Close()
			continue
		}
		if !p.keep(near, far) {
			continue
		}
		p.wg.Go(func() { io.Copy(near, far); p.drop(near, far) })
		p.wg.Go(func() { io.Copy(far, stalling{near, p}); p.drop(near, far) })
	}
}

func (p *line) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.cut {
			c.Close()
		} else {
			p.conns[c] = struct{}{}
		}
	}
	return !p.cut
}

func (p *line) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
}

// stalling reads nothing while its line is stalled.
type stalling struct {
	net.Conn
	p *line
}

func (s stalling) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.p.mu.Lock()
	wait := s.p.stalled
	s.p.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return n, err
}

// stall lets nothing more through to NATS until the test ends, or end is called.
func (p *line) stall() (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := make(chan struct{})
	p.stalled = stalled
	return sync.OnceFunc(func() {
		p.mu.Lock()
		p.stalled = nil
		p.mu.Unlock()
		close(stalled)
	})
}

// set cuts the line, or mends it.
func (p *line) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for c := range p.conns {
		if cut {
			c.Close()
		}
	}
}
