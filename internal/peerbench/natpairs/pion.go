package natpairs

import (
	"context"
	"errors"
	"net"
	"time"

	ice2 "github.com/pion/ice/v2"
	ice4 "github.com/pion/ice/v4"
	"github.com/pion/stun"
	stun4 "github.com/pion/stun/v4"
)

// pionAPI is what the major versions of pion/ice have in common, but for their types.
type pionAPI[C interface{ Marshal() string }, N net.Conn] interface {
	OnCandidate(func(C)) error
	OnSelectedCandidatePairChange(func(local, remote C)) error
	GatherCandidates() error
	GetLocalUserCredentials() (ufrag, pwd string, err error)
	AddRemoteCandidate(C) error
	Dial(ctx context.Context, ufrag, pwd string) (N, error)
	Accept(ctx context.Context, ufrag, pwd string) (N, error)
	GracefulClose() error
}

// pion2 has two agents of v2 meet.
func (w *world) pion2() outcome {
	return pions(w, ice2.UnmarshalCandidate, func(c ice2.Candidate) bool { return c.Type() == ice2.CandidateTypeRelay },
		func(i int) (pionAPI[ice2.Candidate, *ice2.Conn], error) {
			return ice2.NewAgent(&ice2.AgentConfig{
				NetworkTypes: []ice2.NetworkType{ice2.NetworkTypeUDP4}, MulticastDNSMode: ice2.MulticastDNSModeDisabled,
				Net: net2{network2: network2{w.sites[i].Host}},
				Urls: []*stun.URI{
					{Scheme: stun.SchemeTypeSTUN, Host: stunIPs[0].String(), Port: 3478, Proto: stun.ProtoTypeUDP},
					{Scheme: stun.SchemeTypeTURN, Host: turnIP.String(), Port: 3478, Proto: stun.ProtoTypeUDP, Username: username, Password: password},
					{Scheme: stun.SchemeTypeTURN, Host: turnIP.String(), Port: 443, Proto: stun.ProtoTypeTCP, Username: username, Password: password},
				},
			})
		})
}

// pion4 has two agents of v4 meet.
func (w *world) pion4() outcome { return w.pion4With() }

// hasty4 has two agents of v4 meet that accept a pair of any kind at once.
func (w *world) hasty4() outcome {
	return w.pion4With(ice4.WithHostAcceptanceMinWait(0), ice4.WithSrflxAcceptanceMinWait(0),
		ice4.WithPrflxAcceptanceMinWait(0), ice4.WithRelayAcceptanceMinWait(0))
}

func (w *world) pion4With(more ...ice4.AgentOption) outcome {
	return pions(w, ice4.UnmarshalCandidate, func(c ice4.Candidate) bool { return c.Type() == ice4.CandidateTypeRelay },
		func(i int) (pionAPI[ice4.Candidate, *ice4.Conn], error) {
			return ice4.NewAgentWithOptions(append([]ice4.AgentOption{
				ice4.WithNetworkTypes([]ice4.NetworkType{ice4.NetworkTypeUDP4}),
				ice4.WithMulticastDNSMode(ice4.MulticastDNSModeDisabled),
				ice4.WithNet(net5{network5: network5{w.sites[i].Host}}),
				ice4.WithUrls([]*stun4.URI{
					{Scheme: stun4.SchemeTypeSTUN, Host: stunIPs[0].String(), Port: 3478, Proto: stun4.ProtoTypeUDP},
					{Scheme: stun4.SchemeTypeTURN, Host: turnIP.String(), Port: 3478, Proto: stun4.ProtoTypeUDP, Username: username, Password: password},
					{Scheme: stun4.SchemeTypeTURN, Host: turnIP.String(), Port: 443, Proto: stun4.ProtoTypeTCP, Username: username, Password: password},
				}),
			}, more...)...)
		})
}

// pions has two agents meet. The one that dials has its credentials on the way at once, and
// gathers; the other does when it has them. Candidates follow as they are found.
func pions[C interface{ Marshal() string }, N net.Conn](
	w *world, parse func(string) (C, error), relayed func(C) bool, newAgent func(i int) (pionAPI[C, N], error),
) (got outcome) {
	var agents [2]pionAPI[C, N]
	over, stop := context.WithCancel(w.t.Context())
	defer stop()
	direct := newMoment()
	for i := range agents {
		a, err := newAgent(i)
		w.check(err)
		defer func() { w.check(a.GracefulClose()) }()
		w.check(a.OnCandidate(func(c C) {
			if any(c) == nil {
				return
			}
			text := c.Marshal()
			time.AfterFunc(half, func() {
				if c, err := parse(text); err == nil && over.Err() == nil {
					_ = agents[1-i].AddRemoteCandidate(c) // it may be closed
				}
			})
		}))
		agents[i] = a
	}
	w.check(agents[0].OnSelectedCandidatePairChange(func(local, remote C) {
		if !relayed(local) && !relayed(remote) {
			direct.come()
		}
	}))
	ctx, cancel := context.WithTimeout(over, patience)
	defer cancel()
	began := time.Now()
	ufrag, pwd, err := agents[0].GetLocalUserCredentials()
	w.check(err)
	answer := newMoment()
	answered := newMoment()
	time.AfterFunc(half, func() {
		defer answered.come()
		if agents[1].GatherCandidates() != nil {
			return
		}
		time.AfterFunc(half, answer.come)
		_, _ = agents[1].Accept(ctx, ufrag, pwd) // what the other side says is what counts
	})
	w.check(agents[0].GatherCandidates())
	<-answer.at
	ufrag, pwd, err = agents[1].GetLocalUserCredentials()
	w.check(err)
	if _, err := agents[0].Dial(ctx, ufrag, pwd); err == nil {
		got.usable = time.Since(began)
		select {
		case <-direct.at:
			got.direct = max(got.usable, time.Since(began))
		case <-ctx.Done():
		}
	} else if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		w.t.Logf("pion: %v", err)
	}
	cancel()
	<-answered.at
	return got
}

// moment is a point of time that comes once.
type moment struct{ at chan struct{} }

func newMoment() moment { return moment{make(chan struct{})} }

// come is called by one goroutine at a time.
func (m moment) come() {
	select {
	case <-m.at:
	default:
		close(m.at)
	}
}
