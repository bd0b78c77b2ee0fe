package rendezvous

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// masked is a frame as a client sends it (RFC 6455 section 5.2), with a mask of
// zeros and a payload of less than 126 bytes.
func masked(first byte, payload string) []byte {
	return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// A client that sends without end what the WebSocket takes in but never makes a
// message is told so, and nobody else notices.
func TestFloodsBelowTheMessages(t *testing.T) {
	for _, test := range []struct {
		name  string
		start []byte
		again []byte
	}{
		{"pings", nil, masked(0x89, "")},
		{"pongs", nil, masked(0x8a, "nobody asked")},
		{"empty fragments", masked(0x01, ""), masked(0x00, "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				sv := newService(t, ServerConfig{HelloTimeout: -1})
				honest := sv.dial(ClientConfig{})
				ws, raw := sv.open()
				if _, _, err := ws.Read(ctx); err != nil { // the challenge
					t.Fatal(err)
				}
				flooded := make(chan int)
				go func() {
					n, _ := raw.Write(test.start)
					for {
						m, err := raw.Write(test.again)
						if n += m; err != nil {
							flooded <- n
							return
						}
					}
				}()
				_, _, err := ws.Read(ctx)
				if got := Code(websocket.CloseStatus(err)); got != CodeRateLimited {
					t.Errorf("closed with %v, want %v", err, CodeRateLimited)
				}
				ws.CloseNow()
				if n := <-flooded; n < inletBytes {
					t.Errorf("closed after %d bytes, want %d at least", n, inletBytes)
				}
				if err := honest.Join(ctx, "r", nil); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if got, want := sv.server.Stats(), (Stats{Clients: 1, Rooms: 1}); got != want {
					t.Errorf("stats %+v, want %+v", got, want)
				}
				honest.Close()
				sv.close()
			})
		})
	}
}

// A client may ping by WebSocket as much as it likes beside its messages, and
// may send these in small fragments.
func TestInletLetsHonestClientsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{IdleTimeout: -1})
		ws, raw := sv.open()
		_, challenge, err := ws.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f, err := decodeFrame(challenge)
		if err != nil {
			t.Fatal(err)
		}
		id := identity(t, 1)
		hello := frame{Type: typeHello, Version: protocolVersion, Peer: id.ID(), Host: "rendezvous.test"}
		if hello.Proof, err = makeProof(id, f.Key, f.Nonce, hello.Host); err != nil {
			t.Fatal(err)
		}
		if err := ws.Write(ctx, websocket.MessageText, hello.encode()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.Read(ctx); err != nil {
			t.Fatal(err)
		}
		const fragments = 9000 // of 13 bytes with the header: 62 KiB of blanks in 114 KiB
		for range 3 {
			first := byte(0x01)
			for i := range fragments {
				raw.Write(masked(first, "       "))
				if first = 0; i%1000 == 0 {
					raw.Write(masked(0x8a, ""))
				}
			}
			raw.Write(masked(0x80, `{"type":"ping"}`))
			if _, pong, err := ws.Read(ctx); err != nil || string(pong) != `{"type":"pong"}` {
				t.Fatalf("read %q, %v", pong, err)
			}
			time.Sleep(time.Minute)
		}
		ws.CloseNow()
		sv.close()
	})
}

// What a client sends together with its handshake is not lost.
func TestFrameWithTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sv := newService(t, ServerConfig{})
		conn, err := sv.net.DialContext(context.Background(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		request := "GET /meet/ HTTP/1.1\r\nHost: rendezvous.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
		go conn.Write(append([]byte(request), masked(0x81, "early")...))
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		_, frames, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
		if want := AppendClose(nil, CodeBadFrame, ""); !bytes.Contains(frames, want) {
			t.Errorf("answered %q, want a close with %v", answer, CodeBadFrame)
		}
		conn.Close()
		sv.close()
	})
}

func TestInletHead(t *testing.T) {
	near, far := net.Pipe()
	in := newInlet(near, []byte("head"))
	go func() {
		far.Write([]byte("rest"))
		far.Close()
	}()
	if got, err := io.ReadAll(in); string(got) != "headrest" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if in.left.Load() != inletBytes-8 || in.head != nil {
		t.Errorf("%d bytes left", in.left.Load())
	}
	in.refill()
	if in.left.Load() != inletBytes {
		t.Error("not refilled")
	}
	in.open()
	in.refill()
	if in.left.Load() <= inletBytes {
		t.Error("refilled after it was opened")
	}
	in.left.Store(0)
	if _, err := in.Read(make([]byte, 1)); err != errFlood {
		t.Errorf("beyond the limit: %v", err)
	}
}
