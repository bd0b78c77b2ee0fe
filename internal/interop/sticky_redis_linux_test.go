package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/bradawl/bradawl/stats"
)

// redisSticky keeps the arms of an experiment in Redis (7.0 and newer), for all peers of a
// service that reach one. It is an example to copy: it says what a store has to do.
type redisSticky struct{ client *redis.Client }

// Assign is one transaction, so that no key is left without an end by a client that dies
// halfway, and two ends that ask at once get the same. There is a hash for each pair, for
// its time to live is then that of a key: fields of a common hash have one from Redis 7.4
// on only, and HSETNX on a hash whose expiry is set again each time would never end. NX
// leaves the time to live as the first one set it.
func (s redisSticky) Assign(ctx context.Context, key, arm string, ttl time.Duration) (string, error) {
	key = "experiment:" + key
	var stored *redis.StringCmd
	_, err := s.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		tx.HSetNX(ctx, key, "arm", arm)
		tx.Do(ctx, "PEXPIRE", key, ttl.Milliseconds(), "NX")
		stored = tx.HGet(ctx, key, "arm")
		return nil
	})
	if err != nil {
		return "", err
	}
	return stored.Val(), nil
}

// redisServer is a Redis of the test's own, on a Unix socket.
type redisServer struct {
	socket string
	cmd    *exec.Cmd
	said   output
}

// newRedis runs redis-server until the test ends, and returns when it serves.
func newRedis(t *testing.T) *redisServer {
	t.Helper()
	need(t, "redis-server", "redis-server", true)
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{socket: filepath.Join(dir, "s")}
	s.cmd = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700", "--dir", dir, "--save", "", "--appendonly", "no")
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.signal(t, syscall.SIGKILL)
		_ = s.cmd.Wait() // it was killed
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("redis-server said:\n%s", s.said.String())
		}
	})
	client := s.client(t)
	eventually(t, "redis-server answers", func() bool { return client.Ping(t.Context()).Err() == nil })
	return s
}

func (s *redisServer) signal(t *testing.T, which syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(which); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// client connects to it as one peer. By default go-redis does not heed deadlines.
func (s *redisServer) client(t *testing.T) *redis.Client {
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func stickyAssign(t *testing.T, s stats.Sticky, key, arm string, ttl time.Duration) string {
	t.Helper()
	got, err := s.Assign(t.Context(), key, arm, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// What is stored first stays until its time is over, which nothing lengthens.
func TestStickyRedis(t *testing.T) {
	server := newRedis(t)
	client := server.client(t)
	s := redisSticky{client}
	if got := stickyAssign(t, s, "lanes:1", "a", time.Minute); got != "a" {
		t.Errorf("%q, want a", got)
	}
	if got := stickyAssign(t, s, "lanes:1", "b", time.Hour); got != "a" {
		t.Errorf("%q, want a still", got)
	}
	if left := client.PTTL(t.Context(), "experiment:lanes:1").Val(); left <= 0 || left > time.Minute {
		t.Errorf("%v are left of a minute", left)
	}
	if got := stickyAssign(t, s, "lanes:2", "a", 50*time.Millisecond); got != "a" {
		t.Errorf("%q, want a", got)
	}
	eventually(t, "a pair is drawn anew after its 50 ms", func() bool {
		return stickyAssign(t, s, "lanes:2", "b", time.Hour) == "b"
	})
	if left := client.PTTL(t.Context(), "experiment:lanes:2").Val(); left <= time.Minute {
		t.Errorf("%v are left of an hour", left)
	}
}

// Of peers that know other weights, all of which ask at once, those of each pair agree.
func TestStickyRedisPeers(t *testing.T) {
	server := newRedis(t)
	before := stats.Experiment{Name: "lanes", Arms: []stats.Arm{{Name: "control"}, {Name: "late"}}}
	after := stats.Experiment{Name: "lanes", Arms: []stats.Arm{{Name: "control", Weight: -1}, {Name: "late"}}}
	const pairs = 50
	var (
		all  sync.WaitGroup
		arms [2][pairs]stats.Assignment
	)
	for side, x := range []stats.Experiment{before, after} {
		store := redisSticky{server.client(t)}
		for i := range pairs {
			self, peer := fmt.Sprint("caller", i), fmt.Sprint("callee", i)
			if side == 1 {
				self, peer = peer, self
			}
			a, err := stats.NewAssigner(stats.AssignerConfig{Experiment: x, Self: self, Sticky: store, Timeout: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if arms[side][i], err = a.Assign(t.Context(), peer); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	counted := 0
	for i := range pairs {
		caller, callee := arms[0][i], arms[1][i]
		if caller.Err != nil || callee.Err != nil || caller.Arm != callee.Arm || caller.Arm == "" {
			t.Errorf("pair %d: %+v and %+v", i, caller, callee)
		}
		if caller.Group == "" && callee.Group == "lanes-"+callee.Arm {
			counted++
		}
	}
	if counted != pairs {
		t.Errorf("%d sessions of %d count, at one end each", counted, pairs)
	}
}

// A Redis that hangs, and one that is gone, delay a session by Timeout at most; the hash
// decides then.
func TestStickyRedisFails(t *testing.T) {
	server := newRedis(t)
	x := stats.Experiment{Name: "lanes", Arms: []stats.Arm{{Name: "control"}, {Name: "late"}}}
	a, err := stats.NewAssigner(stats.AssignerConfig{Experiment: x, Self: "alice", Sticky: redisSticky{server.client(t)}, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	fails := func(peer string) error {
		got, err := a.Assign(t.Context(), peer)
		if err != nil {
			t.Fatal(err)
		}
		want, err := x.Arm("alice", peer)
		if err != nil || got.Arm != want || got.Group != "" {
			t.Errorf("%+v, want arm %s, and that it does not count", got, want)
		}
		return got.Err
	}
	server.signal(t, syscall.SIGSTOP)
	var timeout net.Error
	if err := fails("bob"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("of a server that hangs: %v", err)
	}
	server.signal(t, syscall.SIGCONT)
	eventually(t, "it is used again", func() bool {
		got, err := a.Assign(t.Context(), "carol")
		return err == nil && got.Err == nil
	})
	server.signal(t, syscall.SIGKILL)
	_ = server.cmd.Wait() // it was killed
	if err := fails("dave"); err == nil {
		t.Error("of a server that is gone: nothing")
	}
}
