package icepion_test

import (
	"context"
	"flag"
	"net"
	"net/netip"
	"os"
	"testing"

	ice2 "github.com/pion/ice/v2"
	ice4 "github.com/pion/ice/v4"
	"github.com/pion/stun"
	stun4 "github.com/pion/stun/v4"
)

func TestMain(m *testing.M) {
	// Most of the time is spent on pion's waits. The command line may say otherwise.
	_ = flag.Set("test.parallel", "8")
	os.Exit(m.Run())
}

// shape is what pion's agent is to be like. The zero value has UDP host candidates.
type shape struct {
	tcp   bool // TCP candidates: active ones, and passive ones if mux is set
	noUDP bool
	mux   bool // one socket, and listener, for all agents, as servers have it
	types candidates
	lite  bool
	// servers are asked for reflexive and relayed candidates.
	servers *servers
}

// candidates are the types of candidates that are gathered.
type candidates int

const (
	hosts candidates = iota
	reflexive
	relayed
)

// version is a major version of pion/ice.
type version struct {
	name string
	make func(t *testing.T, s shape) *theirs
}

var versions = []version{{"v2", newPion2}, {"v4", newPion4}}

// api is what the versions have in common, but for their types.
type api[C interface{ Marshal() string }, N net.Conn] interface {
	OnCandidate(func(C)) error
	GatherCandidates() error
	GetLocalUserCredentials() (ufrag, pwd string, err error)
	SetRemoteCredentials(ufrag, pwd string) error
	AddRemoteCandidate(C) error
	OnSelectedCandidatePairChange(func(local, remote C)) error
	Dial(ctx context.Context, ufrag, pwd string) (N, error)
	Accept(ctx context.Context, ufrag, pwd string) (N, error)
	Restart(ufrag, pwd string) error
	GracefulClose() error
}

// theirs is an agent of pion's, of either version.
type theirs struct {
	gather func() error
	// candidates are the local ones as text; an empty text tells that there are no more.
	candidates chan string
	// selected are the pairs that it chose, as text.
	selected       chan [2]string
	credentials    func() (ufrag, pwd string, err error)
	setCredentials func(ufrag, pwd string) error
	add            func(candidate string) error
	dial, accept   func(ctx context.Context, ufrag, pwd string) (net.Conn, error)
	restart        func() error
}

// adapt closes the agent when the test ends.
func adapt[C interface{ Marshal() string }, N net.Conn](t *testing.T, a api[C, N], parse func(string) (C, error)) *theirs {
	t.Helper()
	t.Cleanup(func() { check(t, a.GracefulClose()) })
	th := &theirs{candidates: make(chan string, 100), selected: make(chan [2]string, 100)}
	check(t, a.OnCandidate(func(c C) {
		text := ""
		if any(c) != nil {
			text = c.Marshal()
		}
		th.candidates <- text
	}))
	check(t, a.OnSelectedCandidatePairChange(func(local, remote C) { th.selected <- [2]string{local.Marshal(), remote.Marshal()} }))
	th.gather = a.GatherCandidates
	th.credentials = a.GetLocalUserCredentials
	th.setCredentials = a.SetRemoteCredentials
	th.add = func(text string) error {
		c, err := parse(text)
		if err != nil {
			return err
		}
		return a.AddRemoteCandidate(c)
	}
	th.dial = func(ctx context.Context, ufrag, pwd string) (net.Conn, error) { return a.Dial(ctx, ufrag, pwd) }
	th.accept = func(ctx context.Context, ufrag, pwd string) (net.Conn, error) { return a.Accept(ctx, ufrag, pwd) }
	th.restart = func() error { return a.Restart("", "") }
	return th
}

func newPion2(t *testing.T, s shape) *theirs {
	cfg := ice2.AgentConfig{
		CandidateTypes:   []ice2.CandidateType{ice2.CandidateTypeHost},
		MulticastDNSMode: ice2.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		IPFilter:         net.IP.IsLoopback,
		Lite:             s.lite,
	}
	if !s.noUDP {
		cfg.NetworkTypes = append(cfg.NetworkTypes, ice2.NetworkTypeUDP4)
	}
	if s.tcp {
		cfg.NetworkTypes = append(cfg.NetworkTypes, ice2.NetworkTypeTCP4)
		cfg.DisableActiveTCP = s.mux
	}
	if s.mux && s.tcp {
		cfg.TCPMux = closeLater(t, ice2.NewTCPMuxDefault(ice2.TCPMuxParams{Listener: listenTCP(t), ReadBufferSize: 64}))
	}
	if s.mux && !s.noUDP {
		cfg.UDPMux = closeLater(t, ice2.NewUDPMuxDefault(ice2.UDPMuxParams{UDPConn: listenUDP(t)}))
	}
	server := stun.URI{Proto: stun.ProtoTypeUDP}
	if s.types != hosts {
		server.Host, server.Port = hostPort(s.servers.addr)
		cfg.Urls = []*stun.URI{&server}
	}
	switch s.types {
	case reflexive:
		cfg.CandidateTypes = []ice2.CandidateType{ice2.CandidateTypeServerReflexive}
		server.Scheme = stun.SchemeTypeSTUN
	case relayed:
		cfg.CandidateTypes = []ice2.CandidateType{ice2.CandidateTypeRelay}
		server.Scheme, server.Username, server.Password = stun.SchemeTypeTURN, s.servers.username, s.servers.password
	}
	a, err := ice2.NewAgent(&cfg)
	check(t, err)
	return adapt(t, a, ice2.UnmarshalCandidate)
}

func newPion4(t *testing.T, s shape) *theirs {
	var networks []ice4.NetworkType
	if !s.noUDP {
		networks = append(networks, ice4.NetworkTypeUDP4)
	}
	if s.tcp {
		networks = append(networks, ice4.NetworkTypeTCP4)
	}
	var options []ice4.AgentOption
	if s.mux && s.tcp {
		mux := closeLater(t, ice4.NewTCPMuxDefault(ice4.TCPMuxParams{Listener: listenTCP(t), ReadBufferSize: 64}))
		options = append(options, ice4.WithTCPMux(mux), ice4.WithDisableActiveTCP())
	}
	if s.mux && !s.noUDP {
		options = append(options, ice4.WithUDPMux(closeLater(t, ice4.NewUDPMuxDefault(ice4.UDPMuxParams{UDPConn: listenUDP(t)}))))
	}
	types, server := ice4.CandidateTypeHost, stun4.URI{Proto: stun4.ProtoTypeUDP}
	if s.types != hosts {
		server.Host, server.Port = hostPort(s.servers.addr)
		options = append(options, ice4.WithUrls([]*stun4.URI{&server}))
	}
	switch s.types {
	case reflexive:
		types, server.Scheme = ice4.CandidateTypeServerReflexive, stun4.SchemeTypeSTUN
	case relayed:
		types, server.Scheme = ice4.CandidateTypeRelay, stun4.SchemeTypeTURN
		server.Username, server.Password = s.servers.username, s.servers.password
	}
	a, err := ice4.NewAgentWithOptions(append(options,
		ice4.WithNetworkTypes(networks),
		ice4.WithCandidateTypes([]ice4.CandidateType{types}),
		ice4.WithMulticastDNSMode(ice4.MulticastDNSModeDisabled),
		ice4.WithIncludeLoopback(),
		ice4.WithIPFilter(net.IP.IsLoopback),
		ice4.WithICELite(s.lite),
	)...)
	check(t, err)
	return adapt(t, a, ice4.UnmarshalCandidate)
}

func hostPort(a netip.AddrPort) (string, int) { return a.Addr().String(), int(a.Port()) }

func closeLater[T interface{ Close() error }](t *testing.T, c T) T {
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func listenTCP(t *testing.T) net.Listener {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	return l
}

func listenUDP(t *testing.T) net.PacketConn {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
