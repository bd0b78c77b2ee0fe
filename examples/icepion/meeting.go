package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/ice/pionice"
	pion "github.com/pion/ice/v2"
)

// A meeting is an agent of each kind.
type meeting struct {
	o        options
	endpoint *ice.Endpoint
	ours     *ice.Agent
	theirs   *pion.Agent
	mux      io.Closer // of pion's TCP candidates; nil: none
	found    chan finding
	agreed   chan struct{} // closed when the two have agreed on a pair
}

// A finding is a candidate that one side has found.
type finding struct {
	side      string
	candidate ice.Candidate
	last      bool // there are no more
	err       error
}

const ourSide, theirSide = "ours", "pion"

func newMeeting(ctx context.Context, o options) (*meeting, error) {
	m := &meeting{
		o:      o,
		found:  make(chan finding, 64), // more than loopback has
		agreed: make(chan struct{}),
	}
	err := errors.Join(m.makeOurs(ctx), m.makeTheirs())
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *meeting) makeOurs(ctx context.Context) (err error) {
	cfg := ice.Config{
		Networks: []string{"udp4"},
		Loopback: true, // peers on this machine
		Filter:   func(h ice.HostAddr) bool { return h.Addr.IsLoopback() },
	}
	if m.o.tcp {
		cfg.Networks = []string{"tcp4"}
	}
	if m.endpoint, err = ice.Listen(ctx, cfg); err != nil {
		return err
	}
	m.ours, err = m.endpoint.NewAgent(ice.AgentConfig{Controlling: m.o.weControl})
	return err
}

func (m *meeting) makeTheirs() error {
	cfg := pion.AgentConfig{
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4},
		CandidateTypes:   []pion.CandidateType{pion.CandidateTypeHost},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		IPFilter:         net.IP.IsLoopback,
	}
	if m.o.tcp {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		mux := pion.NewTCPMuxDefault(pion.TCPMuxParams{Listener: listener, ReadBufferSize: 64})
		cfg.NetworkTypes, cfg.TCPMux, m.mux = []pion.NetworkType{pion.NetworkTypeTCP4}, mux, mux
	}
	var err error
	if m.theirs, err = pion.NewAgent(&cfg); err != nil {
		return err
	}
	return m.theirs.OnCandidate(func(c pion.Candidate) {
		f := finding{side: theirSide, last: c == nil}
		if c != nil {
			f.candidate, f.err = pionice.FromPion(c)
		}
		m.found <- f
	})
}

// close ends ours first: an agent whose TCP connection is gone opens another, for which
// pion's listener would wait.
func (m *meeting) close() (err error) {
	if m.endpoint != nil {
		err = m.endpoint.Close()
	}
	if m.theirs != nil {
		err = errors.Join(err, m.theirs.Close())
	}
	if m.mux != nil {
		err = errors.Join(err, m.mux.Close())
	}
	return err
}

// arrival is that a side can send.
type arrival struct {
	side string
	conn net.Conn
	took time.Duration
	err  error
}

// connect has the two meet.
func (m *meeting) connect(ctx context.Context, out teller) (*ends, error) {
	go m.watch(ctx)
	if err := m.theirs.GatherCandidates(); err != nil {
		return nil, err
	}
	arrived := make(chan arrival, 2)
	begin := func() error { return m.begin(ctx, arrived) }
	if m.o.trickle {
		if err := begin(); err != nil { // what is found from now on is told while they check
			return nil, err
		}
	}
	if err := m.introduce(ctx, out); err != nil {
		return nil, err
	}
	if !m.o.trickle {
		if err := begin(); err != nil {
			return nil, err
		}
	}
	e := new(ends)
	for range 2 {
		select {
		case a := <-arrived:
			if a.err != nil {
				return nil, fmt.Errorf("%s: %w", a.side, a.err)
			}
			out.connected(a)
			if a.side == ourSide {
				e.ours = a.conn
			} else {
				e.theirs = a.conn
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	select { // data would not wait for it; the report does
	case <-m.agreed:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return e, nil
}

// watch takes in what our agent tells, until it is closed.
func (m *meeting) watch(ctx context.Context) {
	var once sync.Once
	for {
		e, err := m.ours.Next(ctx)
		switch {
		case err != nil:
			return
		case e.Kind == ice.EventCandidate:
			m.found <- finding{side: ourSide, candidate: e.Candidate}
		case e.Kind == ice.EventGathered:
			m.found <- finding{side: ourSide, last: true}
		case e.Kind == ice.EventState && e.State == ice.Completed:
			once.Do(func() { close(m.agreed) })
		}
	}
}

// introduce tells each side the other's candidates, until both have told all.
func (m *meeting) introduce(ctx context.Context, out teller) error {
	for left := 2; left > 0; {
		select {
		case f := <-m.found:
			if f.err != nil {
				return f.err
			}
			if f.last {
				left--
			} else {
				out.found(f)
			}
			if err := m.tell(f); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// tell is the signalling.
func (m *meeting) tell(f finding) error {
	switch {
	case f.side == theirSide && f.last:
		return m.ours.EndOfCandidates()
	case f.side == theirSide:
		return m.ours.AddRemote(f.candidate)
	case f.last:
		return nil // pion does not want to know
	}
	c, err := pionice.ToPion(f.candidate)
	if err != nil {
		return err
	}
	return m.theirs.AddRemoteCandidate(c)
}

// begin tells each side the other's credentials, which starts the checks.
func (m *meeting) begin(ctx context.Context, arrived chan<- arrival) error {
	ufrag, pwd, err := m.theirs.GetLocalUserCredentials()
	if err != nil {
		return err
	}
	local := m.ours.LocalCredentials()
	began := time.Now()
	go func() {
		call := m.theirs.Accept
		if !m.o.weControl {
			call = m.theirs.Dial
		}
		conn, err := call(ctx, local.Ufrag, local.Pwd)
		arrived <- arrival{theirSide, conn, time.Since(began), err}
	}()
	if err := m.ours.SetRemote(ice.Credentials{Ufrag: ufrag, Pwd: pwd}); err != nil {
		return err
	}
	go func() {
		conn, err := m.ours.Connect(ctx)
		arrived <- arrival{ourSide, conn, time.Since(began), err}
	}()
	return nil
}

// ends are the two ends of the path.
type ends struct{ ours, theirs net.Conn }

// talk has messages go from ours to pion's and back.
func (e *ends) talk(ctx context.Context, messages int, out teller) error {
	// pion's reads know no deadlines: they end with the connection.
	defer context.AfterFunc(ctx, func() { _ = errors.Join(e.ours.Close(), e.theirs.Close()) })()
	fail := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	buf := make([]byte, 1500)
	for i := range messages {
		for _, way := range []struct {
			from, to net.Conn
			text     string
		}{{e.ours, e.theirs, fmt.Sprintf("message %d", i+1)}, {e.theirs, e.ours, fmt.Sprintf("answer %d", i+1)}} {
			if _, err := way.from.Write([]byte(way.text)); err != nil {
				return fail(err)
			}
			n, err := way.to.Read(buf)
			if err != nil {
				return fail(err)
			}
			if string(buf[:n]) != way.text {
				return fmt.Errorf("%q was sent and %q came", way.text, buf[:n])
			}
		}
		out.message(i + 1)
	}
	return nil
}
