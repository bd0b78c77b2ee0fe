package icetimes

import (
	"context"
	"errors"
	"net"
	"runtime"
	"time"

	ice2 "github.com/pion/ice/v2"
	ice4 "github.com/pion/ice/v4"
	"github.com/pion/stun"
	stun4 "github.com/pion/stun/v4"
)

// pion is one of pion's major versions with its defaults.
type pion struct {
	name string
	make func(Kind, *Servers) (agent, error)
}

func (p pion) Name() string { return p.name }

func (p pion) Connect(ctx context.Context, kind Kind, servers *Servers) (time.Duration, error) {
	a, err := p.make(kind, servers)
	if err != nil {
		return 0, err
	}
	b, err := p.make(kind, servers)
	if err != nil {
		return 0, errors.Join(err, a.close())
	}
	return meet(ctx, kind, a, b)
}

func newPion2(kind Kind, servers *Servers) (agent, error) {
	cfg := ice2.AgentConfig{
		NetworkTypes:     []ice2.NetworkType{ice2.NetworkTypeUDP4},
		CandidateTypes:   []ice2.CandidateType{ice2.CandidateTypeHost},
		MulticastDNSMode: ice2.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		IPFilter:         net.IP.IsLoopback,
	}
	server := stun.URI{Host: servers.Addr.Addr().String(), Port: int(servers.Addr.Port()), Proto: stun.ProtoTypeUDP}
	switch kind {
	case SrflxOnly:
		cfg.CandidateTypes = []ice2.CandidateType{ice2.CandidateTypeServerReflexive}
		server.Scheme = stun.SchemeTypeSTUN
		cfg.Urls = []*stun.URI{&server}
	case RelayOnly:
		cfg.CandidateTypes = []ice2.CandidateType{ice2.CandidateTypeRelay}
		server.Scheme, server.Username, server.Password = stun.SchemeTypeTURN, servers.Username, servers.Password
		cfg.Urls = []*stun.URI{&server}
	}
	a, err := ice2.NewAgent(&cfg)
	if err != nil {
		return nil, err
	}
	return &pionAgent[ice2.Candidate, *ice2.Conn]{pionAPI: a, parse: ice2.UnmarshalCandidate}, nil
}

// newPion4 uses the old constructor, with which v4 does without its 2 s of waiting where
// there are relayed candidates alone; NewAgentWithOptions of v4.4.9 waits.
func newPion4(kind Kind, servers *Servers) (agent, error) {
	//lint:ignore SA1019 the quicker of the two is what to be measured by
	cfg := ice4.AgentConfig{
		NetworkTypes:     []ice4.NetworkType{ice4.NetworkTypeUDP4},
		CandidateTypes:   []ice4.CandidateType{ice4.CandidateTypeHost},
		MulticastDNSMode: ice4.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		IPFilter:         net.IP.IsLoopback,
	}
	server := stun4.URI{Host: servers.Addr.Addr().String(), Port: int(servers.Addr.Port()), Proto: stun4.ProtoTypeUDP}
	switch kind {
	case SrflxOnly:
		cfg.CandidateTypes = []ice4.CandidateType{ice4.CandidateTypeServerReflexive}
		server.Scheme = stun4.SchemeTypeSTUN
		cfg.Urls = []*stun4.URI{&server}
	case RelayOnly:
		cfg.CandidateTypes = []ice4.CandidateType{ice4.CandidateTypeRelay}
		server.Scheme, server.Username, server.Password = stun4.SchemeTypeTURN, servers.Username, servers.Password
		cfg.Urls = []*stun4.URI{&server}
	}
	//lint:ignore SA1019 as above
	a, err := ice4.NewAgent(&cfg)
	if err != nil {
		return nil, err
	}
	return &pionAgent[ice4.Candidate, *ice4.Conn]{pionAPI: a, parse: ice4.UnmarshalCandidate}, nil
}

// pionAPI is what the major versions have in common, but for their types.
type pionAPI[C interface{ Marshal() string }, N net.Conn] interface {
	OnCandidate(func(C)) error
	GatherCandidates() error
	GetLocalUserCredentials() (ufrag, pwd string, err error)
	AddRemoteCandidate(C) error
	GetRemoteCandidates() ([]C, error)
	Dial(ctx context.Context, ufrag, pwd string) (N, error)
	Accept(ctx context.Context, ufrag, pwd string) (N, error)
	GracefulClose() error
}

// pionAgent makes an agent of that.
type pionAgent[C interface{ Marshal() string }, N net.Conn] struct {
	pionAPI[C, N]
	parse func(string) (C, error)
	added int
}

func (a *pionAgent[C, N]) gather(ctx context.Context) ([]string, error) {
	candidates := make(chan string, 100)
	err := a.OnCandidate(func(c C) {
		if any(c) == nil {
			close(candidates)
			return
		}
		candidates <- c.Marshal()
	})
	if err != nil {
		return nil, err
	}
	if err := a.GatherCandidates(); err != nil {
		return nil, err
	}
	var found []string
	for {
		select {
		case c, more := <-candidates:
			if !more {
				return found, nil
			}
			found = append(found, c)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *pionAgent[C, N]) credentials() (ufrag, pwd string, err error) {
	return a.GetLocalUserCredentials()
}

func (a *pionAgent[C, N]) add(candidate string) error {
	c, err := a.parse(candidate)
	if err != nil {
		return err
	}
	if err := a.AddRemoteCandidate(c); err != nil {
		return err
	}
	// The agent adds it on a goroutine of its own.
	for a.added++; ; runtime.Gosched() {
		if known, err := a.GetRemoteCandidates(); err != nil || len(known) >= a.added {
			return err
		}
	}
}

func (a *pionAgent[C, N]) connect(ctx context.Context, controlling bool, ufrag, pwd string) (net.Conn, error) {
	if controlling {
		return a.Dial(ctx, ufrag, pwd)
	}
	return a.Accept(ctx, ufrag, pwd)
}

func (a *pionAgent[C, N]) close() error { return a.GracefulClose() }
