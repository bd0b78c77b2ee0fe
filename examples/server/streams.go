package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What the TURN server's TCP and TLS connections may take up.
const (
	maxStreams       = 8192
	maxStreamsSource = 64               // of one IPv4 address or IPv6 /64
	strangerPatience = 30 * time.Second // for the next message of a client without a relay
	clientPatience   = time.Hour        // of one with a relay: no allocation is good for longer
	writePatience    = 10 * time.Second // for a client to take what it is sent
)

// streams is a listener that bounds its connections, and ends them with itself.
type streams struct {
	net.Listener

	mu      sync.Mutex
	open    map[*stream]bool
	sources map[netip.Prefix]int
	closed  bool
}

func newStreams(l net.Listener) *streams {
	return &streams{Listener: l, open: make(map[*stream]bool), sources: make(map[netip.Prefix]int)}
}

// Accept returns the next connection that there is room for. Its errors are final: a
// shortage of descriptors, say, must not end the listener.
func (s *streams) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if c := s.admit(conn); c != nil {
			return c, nil
		}
		_ = conn.Close()
	}
}

// admit counts a connection in; nil if there is no room for it.
func (s *streams) admit(conn net.Conn) *stream {
	c := &stream{Conn: conn, of: s, source: sourceOf(conn.RemoteAddr())}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxStreams || s.sources[c.source] >= maxStreamsSource {
		return nil
	}
	s.open[c] = true
	s.sources[c.source]++
	return c
}

// Close closes the listener and all connections.
func (s *streams) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	s.closed = true
	var open []*stream
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	return err
}

// stream is one connection. What its client does not read must not pile up.
type stream struct {
	net.Conn
	of     *streams
	source netip.Prefix
}

func (c *stream) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(writePatience))
	n, err := c.Conn.Write(p)
	if err != nil {
		_ = c.Close() // a message was cut
	}
	return n, err
}

// Close counts the connection out.
func (c *stream) Close() error {
	c.of.mu.Lock()
	if c.of.open[c] {
		delete(c.of.open, c)
		if c.of.sources[c.source]--; c.of.sources[c.source] == 0 {
			delete(c.of.sources, c.source)
		}
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// messages is a listener whose connections give one whole message with each Read.
type messages struct {
	net.Listener
	isClient func(net.Addr) bool // has a relay
}

func (m messages) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	isClient := func() bool { return m.isClient(conn.RemoteAddr()) }
	return &messageConn{Conn: conn, in: bufio.NewReaderSize(conn, 2048), isClient: isClient}, nil
}

// messageConn reads STUN messages (RFC 8489 section 5) and ChannelData (RFC 8656 section
// 12.4, padded to four bytes on streams). It is there for pion/turn, which reads on for
// ever at a length close to 65,536, and waits for a message without limit. A message that
// pion/turn has no room for is passed over, as it is with UDP.
type messageConn struct {
	net.Conn
	in       *bufio.Reader
	isClient func() bool
}

// Read reads one message into p. Its errors end the connection.
func (c *messageConn) Read(p []byte) (int, error) {
	for {
		patience := strangerPatience
		if c.isClient() {
			patience = clientPatience
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		head, err := c.in.Peek(4)
		if err != nil {
			return 0, err
		}
		kind, n := binary.BigEndian.Uint16(head), int(binary.BigEndian.Uint16(head[2:]))
		switch {
		case kind < 0x4000:
			n += 20
		case kind < 0x5000:
			n = 4 + (n+3)&^3
		default:
			return 0, fmt.Errorf("a message that begins with %04x is none of TURN", kind)
		}
		if n <= len(p) {
			return io.ReadFull(c.in, p[:n])
		}
		if _, err := c.in.Discard(n); err != nil {
			return 0, err
		}
	}
}

// sourceOf returns what the limits count by.
func sourceOf(addr net.Addr) netip.Prefix {
	ap, _ := netip.ParseAddrPort(addr.String())
	ip, bits := ap.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
