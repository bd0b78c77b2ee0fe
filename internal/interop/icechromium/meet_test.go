package icechromium_test

import (
	"context"
	"crypto/tls"
	"slices"
	"sync"
	"testing"

	"github.com/pion/datachannel"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/interop/iceagent"
)

// meeting is our agent and a page of Chromium's that connect.
type meeting struct {
	t       *testing.T
	ctx     context.Context
	o       *iceagent.Agent
	p       *tab
	offers  bool // Chromium does, and so controls
	trickle bool
	version int // of our description
	cert    tls.Certificate
	print   string // its fingerprint
	channel *datachannel.DataChannel
}

func newMeeting(t *testing.T, o *iceagent.Agent, p *tab, offers, trickle bool) *meeting {
	t.Helper()
	m := &meeting{t: t, ctx: p.ctx, o: o, p: p, offers: offers, trickle: trickle}
	m.certify()
	return m
}

// ours is our description. Unless candidates trickle, it waits for them.
func (m *meeting) ours(setup string, credentials ice.Credentials) string {
	m.t.Helper()
	d := description{credentials: credentials}
	for !m.trickle && !slices.Contains(d.candidates, "") {
		select {
		case text := <-m.o.Candidates:
			d.candidates = append(d.candidates, text)
		case <-m.ctx.Done():
			m.t.Fatal("our candidates do not end")
		}
	}
	m.version++
	return d.write(m.version, setup, m.print)
}

// take takes in Chromium's description. Unless candidates trickle, it waits for them first.
func (m *meeting) take(sdp string) {
	m.t.Helper()
	if !m.trickle {
		call[nothing](m.p, "candidates.until", "")
		sdp = call[string](m.p, "description")
	}
	d := read(sdp)
	check(m.t, m.o.SetRemote(d.credentials))
	for _, text := range d.candidates {
		check(m.t, m.o.Tell(text))
	}
	if !m.trickle {
		check(m.t, m.o.Tell(""))
	}
}

// signal carries the descriptions, an offer and an answer, and the candidates that follow.
// local are the credentials of ours that Chromium is told; nil: those that our agent makes
// when it hears of Chromium's.
func (m *meeting) signal(local *ice.Credentials) {
	m.t.Helper()
	if m.offers {
		m.take(call[string](m.p, "offer"))
		if local == nil {
			local = m.restarted()
		}
		call[nothing](m.p, "accept", m.ours("passive", *local))
	} else {
		m.take(call[string](m.p, "answer", m.ours("actpass", *local)))
	}
	if !m.trickle {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			text, err := try[string](m.p, "candidates.next")
			if err == nil {
				err = m.o.Tell(text)
			}
			if err != nil {
				m.t.Error(err)
			}
			if err != nil || text == "" {
				return
			}
		}
	})
	wg.Go(func() {
		for {
			var text string
			select {
			case text = <-m.o.Candidates:
			case <-m.ctx.Done():
				m.t.Error("our candidates do not end")
				return
			}
			if _, err := try[nothing](m.p, "add", text); err != nil {
				m.t.Error(err)
			}
			if text == "" {
				return
			}
		}
	})
	wg.Wait()
}

// restarted are the credentials that our agent made, because Chromium restarted.
func (m *meeting) restarted() *ice.Credentials {
	m.t.Helper()
	select {
	case c := <-m.o.Restarted:
		return &c
	case <-m.ctx.Done():
		m.t.Fatal("our agent does not follow Chromium's restart")
		return nil
	}
}

// connect connects the two, and opens a data channel between them.
func (m *meeting) connect() {
	t := m.t
	t.Helper()
	local := m.o.LocalCredentials()
	m.signal(&local)
	conn, err := m.o.Connect(m.ctx)
	if err != nil {
		t.Fatalf("our agent: %v; pairs %+v", err, m.o.Pairs())
	}
	call[nothing](m.p, "iceStates.until", "connected")
	want := map[bool]string{true: "controlling", false: "controlled"}[m.offers]
	if got := call[string](m.p, "role"); got != want {
		t.Errorf("Chromium is %s, want %s", got, want)
	}
	m.secure(conn)
	select {
	case <-m.o.Completed:
	case <-m.ctx.Done():
		t.Errorf("our agent is %v", m.o.State())
	}
}

// restart has one side restart, and returns when both have another pair. Chromium, where it
// is controlled, takes the new one when data comes by it, so that comes first.
func (m *meeting) restart(byUs bool) {
	t := m.t
	t.Helper()
	iceagent.Drain(m.o.Choices)
	call[nothing](m.p, "pairs.drain")
	m.offers = !byUs
	var local *ice.Credentials
	if byUs {
		c, err := m.o.Restart()
		check(t, err)
		local = &c
	} else {
		call[nothing](m.p, "pc.restartIce")
	}
	before := m.o.Selected()
	m.signal(local)
	var pair ice.Pair
	for pair.Route.Remote == before.Route.Remote || !pair.IsValid() {
		select {
		case pair = <-m.o.Choices:
		case <-m.ctx.Done():
			t.Fatalf("our agent has selected no other pair: %v, %+v", m.o.State(), m.o.Pairs())
		}
	}
	m.echo()
	call[any](m.p, "pairs.next")
}
