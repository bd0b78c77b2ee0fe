package rendezvous

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// connections is how many the server has, those that are being closed included.
func (sv *service) connections() int {
	synctest.Wait()
	sv.server.mu.Lock()
	defer sv.server.mu.Unlock()
	return sv.server.inside
}

// Whoever connects again and again and never answers the close holds no more
// connections than twice its limit; and once it stops, it is told why again.
func TestClosingConnectionsAreLimited(t *testing.T) {
	const limit = 3
	for _, test := range []struct {
		name string
		cfg  ServerConfig
		send string
		most int
	}{
		{"refused for the address", ServerConfig{MaxClientsPerAddress: limit}, "", 2 * limit},
		{"dropped", ServerConfig{MaxClientsPerAddress: limit}, "garbage", limit},
		{"in total", ServerConfig{MaxClients: limit}, "garbage", limit},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sv := newService(t, test.cfg)
				var raws []net.Conn
				for range 50 {
					_, raw := sv.open()
					if test.send != "" {
						go raw.Write(masked(0x81, test.send))
					}
					raws = append(raws, raw)
					if got := sv.connections(); got > test.most {
						t.Fatalf("%d connections, want at most %d", got, test.most)
					}
				}
				if got := sv.connections(); got != test.most {
					t.Errorf("%d connections, want %d", got, test.most)
				}
				time.Sleep(8 * time.Second) // closeGrace, after the time for the hello of those let in
				if got := sv.connections(); got != 0 {
					t.Errorf("%d connections are left", got)
				}
				ws, raw := sv.open()
				go raw.Write(masked(0x81, "garbage"))
				_, _, err := ws.Read(context.Background()) // the challenge
				if err == nil {
					_, _, err = ws.Read(context.Background())
				}
				if got := Code(websocket.CloseStatus(err)); got != CodeBadFrame {
					t.Errorf("after a while closed with %v, want %v", err, CodeBadFrame)
				}
				for _, raw := range append(raws, raw) {
					raw.Close()
				}
				sv.connections()
				if sv.server.closing.all != 0 || len(sv.server.closing.bySource) != 0 {
					t.Errorf("%d count as closing", sv.server.closing.all)
				}
				sv.close()
			})
		})
	}
}

// A client that has missed a frame gets nothing that comes after it, however the
// machine goes on until it hears of it.
func TestSlowReaderMissesNothingInBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		sv := newService(t, ServerConfig{QueueBytes: 1000})
		ws, _ := sv.open()
		sv.connections()
		// The challenge is under way, so what follows waits in the queue.
		if err := sv.server.loop.Do(func(time.Time) {
			c := oldest(&sv.server.m.halfOpen)
			for _, size := range []int{100, 2000, 10} {
				sv.server.m.write(c, frame{Type: typeMessage, Data: make([]byte, size)})
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, data, err := ws.Read(ctx); err != nil {
			t.Fatalf("read %q, %v", data, err)
		}
		_, data, err := ws.Read(ctx)
		if got := Code(websocket.CloseStatus(err)); got != CodeSlowReader {
			t.Errorf("then came %q, %v, want a close with %v", data, err, CodeSlowReader)
		}
		ws.CloseNow()
		sv.close()
	})
}
