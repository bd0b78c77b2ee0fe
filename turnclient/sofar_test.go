package turnclient_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/wire"
	"github.com/bradawl/bradawl/turnclient"
)

// Whoever does not wait until every server has had its time is told how far each has
// got: the one that refused, the one that is silent, the one that does not let itself be connected to, the one
// whose answers are forged, the one that wants credentials, and the one whose turn has
// not come.
func TestWhatIsUnansweredIsSaid(t *testing.T) {
	third := netip.MustParseAddrPort("192.0.2.3:3478")
	l := newLab(t, turnclient.MachineConfig{Ask: true, Servers: []turnclient.Endpoint{
		{Addr: public1}, {Addr: serverAddr}, {Addr: serverAddr, Transport: turnclient.TCP}, {Addr: otherAddr}, {Addr: third}, {Addr: third, Transport: turnclient.TLS},
	}})
	wrong := func(m *wire.Message) []byte {
		return answerTo(m, 300, nil, nil) // anybody could have sent it
	}
	l.hosts[otherAddr] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte { return one(wrong(m)) })
	l.hosts[third] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte {
		return one(challengeTo(m, wire.CodeUnauthenticated, nonce))
	})
	l.hosts[public1] = script(func(_ *lab, _ netip.AddrPort, m *wire.Message) [][]byte { return one(answerTo(m, 500, nil, nil)) })
	id := l.allocate()
	l.run(940 * time.Millisecond) // 40 ms until the first has refused, and it was asked again since
	all := l.m.SoFar(l.now, id)
	for i, want := range []struct {
		err  error
		text string
	}{
		{nil, "refused with 500"},
		{turnclient.ErrNoAnswer, "no answer within 900ms (2 sent)"},
		{turnclient.ErrNoAnswer, "no connection within 650ms"},
		{turnclient.ErrIntegrity, "one said 300"},
		{turnclient.ErrCredentials, `those for realm "example.org" are still being fetched`},
		{nil, "it was not asked yet"},
	} {
		var s *turnclient.ServerError
		if i >= len(all) || want.err != nil && !errors.Is(all[i], want.err) || !errors.As(all[i], &s) || s.Op != "allocate" || !strings.Contains(all[i].Error(), want.text) {
			t.Errorf("server %d: want %q of %v", i, want.text, all)
		}
	}
	asked := func() (n int) {
		for _, s := range l.requests(wire.Allocate) {
			if s.to == public1 {
				n++
			}
		}
		return n
	}
	if !l.runUntil(time.Minute, func() bool { return asked() == 2 }) {
		t.Error("the one that refused is not asked again")
	}
	if again := l.m.SoFar(l.now, id); len(again) != 6 || again[0] != all[0] {
		t.Errorf("while it is asked again: %v", again)
	}
	if len(all) != 6 || l.m.SoFar(l.now, id+1) != nil {
		t.Errorf("%d, %v", len(all), l.m.SoFar(l.now, id+1))
	}
}
