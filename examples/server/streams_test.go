package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener gives the connections that it was given.
type fakeListener struct {
	net.Listener
	conns chan net.Conn
}

func (l fakeListener) Accept() (net.Conn, error) {
	if c := <-l.conns; c != nil {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (fakeListener) Close() error { return nil }

// from is a connection from some address.
type from struct {
	net.Conn
	remote net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.remote }

func TestStreamLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := make(chan net.Conn)
		s := newStreams(fakeListener{conns: conns})
		accepted := make(chan net.Conn, maxStreams)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := s.Accept()
				if err != nil {
					return
				}
				accepted <- c
			}
		}()
		// connect reports whether a connection was kept.
		connect := func(address string) (near net.Conn, kept bool) {
			near, far := net.Pipe()
			conns <- from{far, at(address)}
			synctest.Wait()
			near.SetReadDeadline(time.Now().Add(time.Second))
			_, err := near.Read(make([]byte, 1))
			return near, errors.Is(err, os.ErrDeadlineExceeded)
		}
		for n := range maxStreamsSource + 2 {
			if _, kept := connect(fmt.Sprint("192.0.2.1:", n+1)); kept != (n < maxStreamsSource) {
				t.Errorf("connection %d of an address: kept %t", n, kept)
			}
		}
		if _, kept := connect("192.0.2.2:1"); !kept {
			t.Error("another address has no room")
		}
		c := <-accepted
		c.Close()
		c.Close()
		near, kept := connect("192.0.2.1:999")
		if !kept {
			t.Error("a connection that was closed keeps its room")
		}
		// A client that takes nothing is given up, and all of it ends.
		var last net.Conn
		for len(accepted) > 0 {
			last = <-accepted
		}
		start := time.Now()
		if _, err := last.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != writePatience {
			t.Errorf("written to nobody: %v after %v", err, time.Since(start))
		}
		near.SetReadDeadline(time.Time{})
		if _, err := near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("its connection goes on: %v", err)
		}
		s.Close()
		if len(s.open) != 0 || len(s.sources) != 0 {
			t.Errorf("%d connections of %d addresses are open after Close", len(s.open), len(s.sources))
		}
		if _, kept := connect("192.0.2.3:1"); kept {
			t.Error("a connection was kept after Close")
		}
		conns <- nil
		<-done
	})
}

// stun is a message of n bytes after its header, channel one of ChannelData.
func stun(n int) []byte {
	b := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12+n)...)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

func channel(n int) []byte {
	b := append([]byte{0x40, 1, 0, 0}, make([]byte, (n+3)&^3)...)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

func TestMessages(t *testing.T) {
	for _, test := range []struct {
		name string
		in   [][]byte
		want []int  // the lengths of what is read
		end  string // of the error in the end
	}{
		{"nothing", nil, nil, "EOF"},
		{"messages", [][]byte{stun(0), stun(8), channel(0), channel(1), channel(4), channel(5)}, []int{20, 28, 4, 8, 8, 12}, "EOF"},
		{"of just the size", [][]byte{stun(1580), channel(1596)}, []int{1600, 1600}, "EOF"},
		{"too long", [][]byte{stun(1581), stun(1), channel(1597), channel(2), stun(65516), stun(65535), channel(65535), stun(3)}, []int{21, 8, 23}, "EOF"},
		{"cut in the header", [][]byte{stun(0), {0, 1, 0}}, []int{20}, "EOF"},
		{"cut", [][]byte{stun(0), stun(100)[:50]}, []int{20}, "unexpected EOF"},
		{"too long and cut", [][]byte{stun(2000)[:1000]}, nil, "EOF"},
		{"something else", [][]byte{stun(0), []byte("SSH-2.0"), stun(0)}, []int{20}, "5353"},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				near.Write(bytes.Join(test.in, nil))
				near.Close()
			}()
			defer near.Close()
			c := &messageConn{Conn: far, in: bufio.NewReaderSize(far, 2048), isClient: func() bool { return false }}
			var got []int
			for {
				n, err := c.Read(make([]byte, 1600))
				if err != nil {
					if !strings.Contains(err.Error(), test.end) {
						t.Errorf("it ended with %v, want %s", err, test.end)
					}
					break
				}
				got = append(got, n)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("messages of %v bytes, want %v", got, test.want)
			}
		})
	}
}

// Who sends nothing is given up after a while: soon without a relay. Trickling does not
// help.
func TestPatience(t *testing.T) {
	for _, client := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			var trickle sync.WaitGroup
			trickle.Go(func() {
				near.Write(stun(0))
				for range 19 {
					time.Sleep(5 * time.Second)
					near.Write([]byte{0})
				}
			})
			c := &messageConn{Conn: far, in: bufio.NewReaderSize(far, 2048), isClient: func() bool { return client }}
			buf := make([]byte, 1600)
			if n, err := c.Read(buf); n != 20 || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			start, want := time.Now(), strangerPatience
			if client {
				want = clientPatience
			}
			_, err := c.Read(buf)
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != want {
				t.Errorf("relay %t: %v after %v, want %v", client, err, time.Since(start), want)
			}
			far.Close()
			trickle.Wait()
		})
	}
}

// bytesConn is a connection on which all has come already.
type bytesConn struct {
	net.Conn
	in io.Reader
}

func (c bytesConn) Read(p []byte) (int, error)    { return c.in.Read(p) }
func (bytesConn) SetReadDeadline(time.Time) error { return nil }

// Whatever strangers send, each read takes a whole message and goes forward.
func FuzzMessages(f *testing.F) {
	f.Add(bytes.Join([][]byte{stun(0), channel(5), stun(1581), stun(8)}, nil))
	f.Add(stun(65516))
	f.Add([]byte("SSH-2.0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := bytesConn{in: bytes.NewReader(data)}
		c := &messageConn{Conn: conn, in: bufio.NewReaderSize(conn, 2048), isClient: func() bool { return false }}
		buf := make([]byte, 1600)
		total := 0
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if total += n; n < 4 || total > len(data) {
				t.Fatalf("a message of %d bytes, %d of %d in all", n, total, len(data))
			}
			want := len(stun(int(binary.BigEndian.Uint16(buf[2:]))))
			if buf[0] >= 0x40 {
				want = len(channel(int(binary.BigEndian.Uint16(buf[2:]))))
			}
			if n != want {
				t.Fatalf("%x was read to %d bytes, want %d", buf[:4], n, want)
			}
		}
	})
}
