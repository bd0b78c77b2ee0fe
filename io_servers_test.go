package bradawl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/feed"
	"github.com/bradawl/bradawl/internal/plog"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/turnclient"
)

// TestInsistBeginsAnew: what is tried ever less often is tried at once, and then often again,
// when the network is another.
func TestInsistBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Session{ctx: ctx, cancel: cancel, events: feed.New[Event](eventQueue), log: plog.OrDiscard(nil).NewLogger("test")}
		v := &s.servers
		v.s, v.changed = s, make(chan struct{})
		began := time.Now()
		var tries []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			if v.insist("stun.example", func(context.Context) error {
				tries = append(tries, time.Since(began)/time.Second)
				return errors.New("in vain")
			}, v.useless) {
				t.Error("it has not succeeded")
			}
		}()
		<-time.After(100 * time.Second)
		v.change()
		<-time.After(10 * time.Second)
		cancel()
		<-done
		s.wg.Wait()
		if want := []time.Duration{0, 2, 6, 14, 30, 62, 100, 102, 106}; !slices.Equal(tries, want) {
			t.Errorf("tried at %v, want %v (s)", tries, want)
		}
	})
}

// TestWarnsOnceOfEachServer: what is asked again and again is in the log's warnings once, and
// servers without end make neither the log nor memory grow.
func TestWarnsOnceOfEachServer(t *testing.T) {
	var text bytes.Buffer
	s := &Session{events: feed.New[Event](eventQueue), log: FromSlog(slog.New(slog.NewTextHandler(&text, nil))).NewLogger("test")}
	v := &s.servers
	v.s = s
	for range 3 {
		v.useless("one.example", errors.New("one is down"))
		v.useless("two.example", errors.New("two is down"))
	}
	for _, of := range []string{"one is down", "two is down"} {
		if n := strings.Count(text.String(), of); n != 1 || !strings.Contains(text.String(), "WARN") {
			t.Errorf("%q is in the log %d times, want 1: %s", of, n, &text)
		}
	}
	for i := range 2 * maxWarned {
		v.useless(fmt.Sprint(i), errors.New("down"))
	}
	if n := len(v.warned.names); n != maxWarned || strings.Count(text.String(), "\n") != maxWarned {
		t.Errorf("%d servers are remembered, with %d lines", n, strings.Count(text.String(), "\n"))
	}
}

// silent is a signalling that never answers.
type silent struct{}

func (silent) SignOn(ctx context.Context, _ *Identity) (Signals, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// lists names servers, and is good for nothing else.
type lists struct {
	Signals
	stun, turn []string
}

func (l lists) Servers() (stun, turn []string, username, password string, expires time.Time) {
	return l.stun, l.turn, "", "", time.Time{}
}

// alone is a configuration of a session that reaches nothing.
func alone() Config {
	return Config{
		Signaler: silent{}, WatchInterval: -1, NoNATProbe: true, NoPortMapping: true,
		Addrs: func() ([]ice.HostAddr, error) { return nil, nil },
		ListenPacket: func(context.Context, string, string) (net.PacketConn, error) {
			return nil, errors.New("there is no network")
		},
		Dial: func(context.Context, string, netip.AddrPort, string) (net.Conn, error) {
			return nil, errors.New("there is no network")
		},
	}
}

// TestFreshServersWithoutEnd: a signalling that names other servers each time does not make the
// session ask ever more of them, and what it names that is none takes no room.
func TestFreshServersWithoutEnd(t *testing.T) {
	for _, c := range []struct {
		policy     Policy
		stun, turn int
	}{
		{Auto, natprobe.MaxServers, turnclient.MaxServers},
		{DirectOnly, natprobe.MaxServers, 0},
		{RelayOnly, 0, turnclient.MaxServers},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := alone()
			cfg.Policy = c.policy
			cfg.STUN, cfg.TURN = []string{"192.0.2.1"}, []TURNServer{{URI: "turn:192.0.2.1"}}
			s, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			v, before := &s.servers, 0
			for i := range 200 {
				v.listed(lists{nil,
					[]string{"stun:", fmt.Sprintf("stun:198.51.100.%d", i), fmt.Sprintf("203.0.113.%d:3479", i)},
					[]string{"turn:", fmt.Sprintf("turn:198.51.100.%d", i), fmt.Sprintf("turn:203.0.113.%d:3479", i)},
				})
				synctest.Wait()
				if i == 100 {
					before = runtime.NumGoroutine()
				}
			}
			// 99 lists came in between. One that has just ended may be counted yet.
			if after := runtime.NumGoroutine(); after > before+10 {
				t.Errorf("%v: %d goroutines, then %d", c.policy, before, after)
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			if len(v.stun) != c.stun || len(v.found) != c.stun || len(v.turn) != c.turn {
				t.Errorf("%v: %d STUN servers (%d found), %d TURN servers", c.policy, len(v.stun), len(v.found), len(v.turn))
			}
		})
	}
}

// TestNamesThatAreNotFound: of two names one is found at once, and used. The other is looked up
// again, alone, and told of each time, until it is found.
func TestNamesThatAreNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := alone()
		s, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		known := map[string]string{"one.example": "192.0.2.1:3478"}
		var mu sync.Mutex
		asked := make(map[string][]time.Duration)
		began := time.Now()
		v := &s.servers
		v.find = func(_ context.Context, _ string, names ...string) ([]netip.AddrPort, error) {
			mu.Lock()
			defer mu.Unlock()
			asked[names[0]] = append(asked[names[0]], time.Since(began)/time.Second)
			at, ok := known[names[0]]
			if !ok {
				return nil, fmt.Errorf("no %s", names[0])
			}
			return []netip.AddrPort{netip.MustParseAddrPort(at)}, nil
		}
		v.add([]string{"gone.example", "one.example", "late.example"}, nil)
		found := func(want ...string) {
			t.Helper()
			v.mu.Lock()
			defer v.mu.Unlock()
			if fmt.Sprint(v.found) != fmt.Sprint(want) {
				t.Errorf("after %v there are %v, want %v", time.Since(began), v.found, want)
			}
		}
		<-time.After(10 * time.Second)
		found("192.0.2.1:3478")
		mu.Lock()
		known["late.example"] = "192.0.2.2:3478"
		mu.Unlock()
		<-time.After(30 * time.Second)
		found("192.0.2.1:3478", "192.0.2.2:3478")
		if v.probing().Servers[1] != "late.example" {
			t.Errorf("the NAT is looked at by %v", v.probing().Servers)
		}
		mu.Lock()
		defer mu.Unlock()
		for name, want := range map[string][]time.Duration{"one.example": {0}, "late.example": {0, 2, 6, 14}, "gone.example": {0, 2, 6, 14, 30}} {
			if !slices.Equal(asked[name], want) {
				t.Errorf("%s was looked up at %v, want %v (s)", name, asked[name], want)
			}
		}
		told := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			e, err := s.Next(ctx)
			cancel()
			if err != nil {
				break
			}
			if e.Kind == EventServer {
				told++
			}
		}
		if told != 8 {
			t.Errorf("told %d times, want 8", told)
		}
	})
}
