package turnclient_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// coturn takes a port to be of the first user who signed from it, and answers another with
// an unsigned 437. Short-lived credentials have another user name each time.
func TestAnotherUserComesFromAnotherPort(t *testing.T) {
	for _, transport := range []turnclient.Transport{turnclient.UDP, turnclient.TCP} {
		l := newLab(t, turnclient.MachineConfig{Ask: true, Servers: []turnclient.Endpoint{{Addr: serverAddr, Transport: transport}}})
		users := make(map[netip.AddrPort]string)
		l.hosts[serverAddr] = script(func(_ *lab, from netip.AddrPort, m *wire.Message) [][]byte {
			name, _ := m.Get(wire.AttrUsername)
			switch first := users[from]; {
			case !signed(m):
				return one(challengeTo(m, 401, nonce))
			case first != "" && first != string(name):
				return one(answerTo(m, 437, nil, nil))
			case string(name) != "user":
				users[from] = string(name)
				return one(challengeTo(m, 401, nonce))
			}
			return one(answerTo(m, 0, md5Key, granted))
		})
		id := l.allocate()
		asked := 0
		l.runUntil(time.Minute, func() bool {
			if all := l.all(turnclient.EventCredentials); len(all) > asked {
				asked = len(all)
				c := turnclient.Credentials{Username: fmt.Sprint("expired ", asked), Password: "canary-password"}
				if asked == 3 {
					c.Username = "user"
				}
				l.do(func(now time.Time) { l.m.SetCredentials(now, all[asked-1].Server, c, nil) })
			}
			return l.m.State(id).Usable()
		})
		if !l.m.State(id).Usable() || len(l.sockets)+len(l.streams) != 1 {
			t.Errorf("%v: state %v, %d sockets, %d streams: %v", transport, l.m.State(id), len(l.sockets), len(l.streams), l.failures())
		}
	}
}

// New credentials whose user the server does not know either: that ends, too.
func TestUsersThatAreAllRejected(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Ask: true})
	l.serve(serverAddr, authed())
	id := l.allocate()
	asked := 0
	l.runUntil(time.Minute, func() bool {
		if all := l.all(turnclient.EventCredentials); len(all) > asked {
			asked = len(all)
			l.do(func(now time.Time) {
				l.m.SetCredentials(now, all[asked-1].Server, turnclient.Credentials{Username: fmt.Sprint("nobody ", asked), Password: "x"}, nil)
			})
		}
		return l.m.State(id) == turnclient.Failed
	})
	_, err := l.failed(id, time.Second)
	if !errors.Is(err, turnclient.ErrCredentials) || asked > 4 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	speaks(t, err, "allocate", 401, turnclient.UDP)
}

// An allocation stays with the user who made it, whoever makes others (RFC 8656 section
// 5: requests of another are refused with 441).
func TestAllocationsKeepTheirUser(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Ask: true, Mobility: true})
	cfg := authed()
	cfg.Mobility = true
	s := l.serve(serverAddr, cfg)
	answer := func(c turnclient.Credentials) {
		l.run(time.Second)
		e := l.last(turnclient.EventCredentials)
		l.do(func(now time.Time) { l.m.SetCredentials(now, e.Server, c, nil) })
		l.run(time.Second)
	}
	first := l.allocate()
	answer(creds)
	delete(s.Users, "user") // for new ones it has expired
	second := l.allocate()
	l.run(time.Second)
	s.Users["user"], s.Users["later"] = "canary-password", "other-canary"
	answer(turnclient.Credentials{Username: "later", Password: "other-canary"})
	if !l.m.State(first).Usable() || !l.m.State(second).Usable() {
		t.Fatalf("%v, %v: %v", l.m.State(first), l.m.State(second), l.failures())
	}
	l.run(time.Hour)
	l.do(l.m.NetworkChanged)
	l.run(time.Minute)
	l.send(first, peerA, "first")
	l.send(second, peerA, "second")
	l.run(time.Second)
	if moved := len(l.all(turnclient.EventMoved)); s.Made != 2 || len(l.toPeers) != 2 || moved != 2 {
		t.Errorf("%d allocations were made, %d moved, %d datagrams came to the peer: %v", s.Made, moved, len(l.toPeers), l.failures())
	}
}

// So does a data connection of RFC 6062: it is bound by the user of its allocation.
func TestDataConnectionIsOfTheAllocationsUser(t *testing.T) {
	l := newLab(t, turnclient.MachineConfig{Ask: true, Servers: overTCP})
	made := 0
	l.hosts[serverAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		name, _ := m.Get(wire.AttrUsername)
		key := wire.LongTermKey(string(name), "example.org", "canary-password")
		switch {
		case !signed(m), m.Method() == wire.Allocate && string(name) == "user" && made > 0:
			return one(challengeTo(m, 401, nonce))
		case m.Method() == wire.Allocate:
			made++
			return one(answerTo(m, 0, key, granted))
		case m.Method() == wire.Connect:
			return one(answerTo(m, 0, key, func(b *wire.Builder) { b.AddUint32(wire.AttrConnectionID, 5) }))
		}
		return one(answerTo(m, 0, key, nil))
	})
	answer := func(user string) {
		l.run(time.Second)
		e := l.last(turnclient.EventCredentials)
		l.do(func(now time.Time) {
			l.m.SetCredentials(now, e.Server, turnclient.Credentials{Username: user, Password: "canary-password"}, nil)
		})
		l.run(time.Second)
	}
	first := l.allocateTCP()
	answer("user")
	l.allocateTCP()
	answer("later")
	c := l.mustConnect(first, peerA)
	l.run(time.Second)
	binds := l.requests(wire.ConnectionBind)
	if err, told := l.ends()[c]; !told || err != nil || len(binds) == 0 || made != 2 {
		t.Fatalf("%v, %d binds, %d allocations: %v", err, len(binds), made, l.failures())
	}
	if name, _ := binds[len(binds)-1].msg().Get(wire.AttrUsername); string(name) != "user" {
		t.Errorf("bound by %q", name)
	}
}
