package simnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/bradawl/bradawl/internal/netio"
)

// loopbackUDP is a UDP socket of a host over real ones. Like [PacketConn], it has what
// netio's optional interfaces ask for, but for receive times. A destination without a
// route is not told: the datagram is lost.
type loopbackUDP struct {
	user   *net.UDPConn // connected to relay
	relay  *net.UDPConn // takes from user alone
	sim    *PacketConn
	failed chan error // ICMP errors, each on its way with a frame that says so

	done  chan struct{}
	close sync.Once
}

// ListenPacket is [Host.ListenPacket] over real sockets. The largest datagram is
// frameHeader bytes shorter than UDP's.
func (b *Loopback) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	sim, err := b.h.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &loopbackUDP{sim: sim.(*PacketConn), failed: make(chan error, 64), done: make(chan struct{})}
	if err = c.connect(); err == nil {
		err = b.start(c, c.run)
	}
	if err != nil {
		c.kill()
		_ = sim.Close()
		return nil, &net.OpError{Op: "listen", Net: network, Addr: sim.LocalAddr(), Err: err}
	}
	return c, nil
}

func (c *loopbackUDP) connect() (err error) {
	if c.relay, err = net.ListenUDP("udp4", &net.UDPAddr{IP: loopbackAddr()}); err != nil {
		return err
	}
	_ = c.relay.SetReadBuffer(1 << 20) // less will do: full, it loses datagrams as a link does
	c.user, err = net.DialUDP("udp4", nil, c.relay.LocalAddr().(*net.UDPAddr))
	return err
}

func (c *loopbackUDP) kill() {
	if c.user != nil {
		_ = c.user.Close()
	}
	if c.relay != nil {
		_ = c.relay.Close()
	}
}

// run ends when the relay's socket or the user's last frame says so.
func (c *loopbackUDP) run() {
	defer close(c.done)
	var down sync.WaitGroup
	down.Go(c.down)
	c.up()
	_ = c.sim.Close()
	down.Wait()
	_ = c.relay.Close()
}

// up carries what the user sends into the world.
func (c *loopbackUDP) up() {
	buf := make([]byte, 1<<16)
	user := netio.AddrPortOf(c.user.LocalAddr())
	for {
		n, from, err := c.relay.ReadFromUDPAddrPort(buf)
		if netio.IsTransient(err) {
			continue // the user is closing
		}
		if err != nil {
			return
		}
		if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != user {
			continue
		}
		f, data := parseFrame(buf[:n])
		if f.kind == frameEnd {
			return
		}
		o := netio.SendOptions{TTL: int(f.ttl), DontFragment: f.df}
		if !f.local.IsUnspecified() {
			o.Source = f.local
		}
		_, _ = c.sim.WriteOpts(data, f.remote, o)
	}
}

// down carries what the world brings to the user.
func (c *loopbackUDP) down() {
	buf := make([]byte, 1<<16)
	user := netio.AddrPortOf(c.user.LocalAddr())
	for {
		n, m, err := c.sim.ReadMeta(buf[frameHeader:])
		f := frame{kind: frameData, ttl: uint8(m.TTL), remote: m.Remote, local: m.Local.Addr()}
		switch {
		case netio.IsTransient(err):
			f, n = frame{kind: frameError}, 0
			select {
			case c.failed <- err:
			default:
				continue // the user reads nothing
			}
		case err != nil:
			return
		}
		f.put(buf)
		_, _ = c.relay.WriteToUDPAddrPort(buf[:frameHeader+n], user)
	}
}

var frameBuffers = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// ReadMeta implements netio.MetaReader.
func (c *loopbackUDP) ReadMeta(b []byte) (int, netio.Meta, error) {
	buf := frameBuffers.Get().(*[1 << 16]byte)
	defer frameBuffers.Put(buf)
	for {
		n, err := c.user.Read(buf[:])
		if err != nil {
			return 0, netio.Meta{}, c.tell(err)
		}
		f, data := parseFrame(buf[:n])
		if f.kind == frameData {
			local := netip.AddrPortFrom(f.local, c.sim.local.Port())
			return copy(b, data), netio.Meta{Remote: f.remote, Local: local, TTL: int(f.ttl)}, nil
		}
		select {
		case err := <-c.failed:
			return 0, netio.Meta{}, err
		default:
		}
	}
}

// ReadFromUDPAddrPort reads as *net.UDPConn does.
func (c *loopbackUDP) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, m, err := c.ReadMeta(b)
	return n, m.Remote, err
}

// ReadFrom implements net.PacketConn.
func (c *loopbackUDP) ReadFrom(b []byte) (int, net.Addr, error) {
	n, m, err := c.ReadMeta(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(m.Remote), nil
}

// WriteOpts implements netio.OptionWriter.
func (c *loopbackUDP) WriteOpts(b []byte, to netip.AddrPort, o netio.SendOptions) (int, error) {
	if !to.IsValid() {
		return 0, c.sim.fail("write", fmt.Errorf("destination %v is not IP:port", to))
	}
	buf := frameBuffers.Get().(*[1 << 16]byte)
	defer frameBuffers.Put(buf)
	if len(b) > maxFrameData {
		return 0, c.sim.fail("write", syscall.EMSGSIZE)
	}
	frame{kind: frameData, df: o.DontFragment, ttl: uint8(o.TTL), remote: to, local: o.Source}.put(buf[:])
	n := copy(buf[frameHeader:], b)
	if _, err := c.user.Write(buf[:frameHeader+n]); err != nil {
		return 0, c.tell(err)
	}
	return n, nil
}

// WriteToUDPAddrPort writes as *net.UDPConn does.
func (c *loopbackUDP) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteOpts(b, to, netio.SendOptions{})
}

// WriteTo implements net.PacketConn.
func (c *loopbackUDP) WriteTo(b []byte, to net.Addr) (int, error) {
	return c.WriteOpts(b, netio.AddrPortOf(to), netio.SendOptions{})
}

// LocalAddr is the simulated address that the socket is bound to.
func (c *loopbackUDP) LocalAddr() net.Addr { return c.sim.LocalAddr() }

// Close sends what was written on its way, frees the simulated port and unblocks reads.
func (c *loopbackUDP) Close() error {
	err := net.ErrClosed
	c.close.Do(func() {
		var end [frameHeader]byte
		frame{kind: frameEnd}.put(end[:])
		_, _ = c.user.Write(end[:])
		err = c.user.Close()
		// The relay's buffer may have been full, and the last frame lost.
		_ = c.relay.SetReadDeadline(time.Now().Add(time.Second))
	})
	<-c.done
	if err != nil {
		return c.sim.fail("close", err)
	}
	return nil
}

// SetDeadline is as in net.PacketConn.
func (c *loopbackUDP) SetDeadline(t time.Time) error { return c.tell(c.user.SetDeadline(t)) }

// SetReadDeadline is as in net.PacketConn.
func (c *loopbackUDP) SetReadDeadline(t time.Time) error { return c.tell(c.user.SetReadDeadline(t)) }

// SetWriteDeadline is as in net.PacketConn.
func (c *loopbackUDP) SetWriteDeadline(t time.Time) error { return c.tell(c.user.SetWriteDeadline(t)) }

func (c *loopbackUDP) tell(err error) error { return retell(err, c.LocalAddr(), nil) }

// frame is the header of what user and relay send each other: one datagram, with what
// its IP and UDP headers say in the world.
type frame struct {
	kind   byte
	df     bool
	ttl    uint8
	remote netip.AddrPort
	local  netip.Addr // where it arrived, or is to leave from
}

const (
	frameData  byte = iota
	frameError      // an error is in failed
	frameEnd        // the user sends no more

	frameHeader  = 37
	maxFrameData = 65507 - frameHeader
)

func (f frame) put(b []byte) {
	b[0], b[1], b[2] = f.kind, 0, f.ttl
	if f.df {
		b[1] = 1
	}
	binary.BigEndian.PutUint16(b[3:], f.remote.Port())
	for i, a := range [...]netip.Addr{f.remote.Addr(), f.local} {
		var ip [16]byte // an address that is not known is the unspecified one
		if a.IsValid() {
			ip = a.As16()
		}
		copy(b[5+16*i:], ip[:])
	}
}

// parseFrame reads what put wrote; nobody else's frames get here.
func parseFrame(b []byte) (frame, []byte) {
	ip := func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }
	return frame{
		kind: b[0], df: b[1] == 1, ttl: b[2],
		remote: netip.AddrPortFrom(ip(b[5:21]), binary.BigEndian.Uint16(b[3:])),
		local:  ip(b[21:37]),
	}, b[frameHeader:]
}
