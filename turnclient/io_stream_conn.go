package turnclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
)

var errBroke = errors.New("the connection broke as soon as it stood")

// TCPConn is a connection to a peer by way of a TCP allocation. Reads, writes and
// deadlines are those of the connection to the server that carries its bytes, which
// NetConn returns; only the addresses are others. It ends with its allocation, and when
// the server closes it. Nothing keeps the mappings of NATs on the way when it is idle
// but TCP keep-alives (RFC 6062 section 4.6), which net.Dialer sends by default.
type TCPConn struct {
	netConn
	t             *TCPAllocation
	id            ConnID
	local, remote netip.AddrPort
	once          sync.Once
}

// netConn is embedded without being exported.
type netConn = net.Conn

// NetConn returns the connection to the server: a *net.TCPConn or *tls.Conn, or what
// Config.DialContext made. It is for socket options; close the TCPConn.
func (c *TCPConn) NetConn() net.Conn { return c.netConn }

// LocalAddr returns the relayed address that the peer sees, as a *net.TCPAddr.
func (c *TCPConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the peer's address as the server sees it, as a *net.TCPAddr.
func (c *TCPConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// CloseWrite ends what is written, while reads go on, if the connection to the server is
// able to; else the error is errors.ErrUnsupported. RFC 6062 does not say what a server
// makes of it: it may close the connection altogether.
func (c *TCPConn) CloseWrite() error {
	if half, ok := c.netConn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return &net.OpError{Op: "close", Net: "turn", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: fmt.Errorf("half-close: %w", errors.ErrUnsupported)}
}

// ReadFrom implements io.ReaderFrom, so that io.Copy has what the connection to the server
// has for it, such as splice and sendfile.
func (c *TCPConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.netConn, r) }

// WriteTo implements io.WriterTo, as ReadFrom does io.ReaderFrom.
func (c *TCPConn) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, c.netConn) }

// Close closes the connection; the server then closes that to the peer.
func (c *TCPConn) Close() error {
	c.once.Do(func() { c.t.release(c.id) })
	return c.netConn.Close()
}

var _ interface {
	net.Conn
	io.ReaderFrom
	io.WriterTo
} = (*TCPConn)(nil)
