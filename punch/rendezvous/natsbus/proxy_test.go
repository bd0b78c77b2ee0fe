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

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
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
		p.wg.Go(func() { io.Copy(far, near); p.drop(near, far) })
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
