package pionice_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/ice"
	pion "github.com/pion/ice/v2"
)

// message is what two agents have to tell each other: credentials, or a candidate.
type message struct {
	ufrag, pwd string
	candidate  string
}

// signalling gets messages to the peer, in order.
type signalling struct {
	tell chan<- message
	hear <-chan message
}

// before connects by pion/ice v2.
func before(ctx context.Context, cfg pion.AgentConfig, controlling bool, peer signalling) (net.Conn, error) {
	agent, err := pion.NewAgent(&cfg)
	if err != nil {
		return nil, err
	}
	ufrag, pwd, err := agent.GetLocalUserCredentials()
	if err != nil {
		return nil, err
	}
	peer.tell <- message{ufrag: ufrag, pwd: pwd}
	err = agent.OnCandidate(func(c pion.Candidate) {
		if c != nil { // nil: there are no more
			peer.tell <- message{candidate: "candidate:" + c.Marshal()}
		}
	})
	if err != nil {
		return nil, err
	}
	if err := agent.GatherCandidates(); err != nil {
		return nil, err
	}
	credentials := <-peer.hear
	go func() {
		for m := range peer.hear {
			if c, err := pion.UnmarshalCandidate(strings.TrimPrefix(m.candidate, "candidate:")); err == nil {
				_ = agent.AddRemoteCandidate(c)
			}
		}
	}()
	if controlling {
		return agent.Dial(ctx, credentials.ufrag, credentials.pwd)
	}
	return agent.Accept(ctx, credentials.ufrag, credentials.pwd)
}

// after is the same by package ice. The endpoint has the sockets, for all agents of the
// program; it began to gather when it was made.
func after(ctx context.Context, endpoint *ice.Endpoint, controlling bool, peer signalling) (net.Conn, error) {
	agent, err := endpoint.NewAgent(ice.AgentConfig{Controlling: controlling})
	if err != nil {
		return nil, err
	}
	ours := agent.LocalCredentials()
	peer.tell <- message{ufrag: ours.Ufrag, pwd: ours.Pwd}
	go func() { // ends when the agent is closed
		for {
			e, err := agent.Next(context.Background())
			if err != nil {
				return
			}
			if e.Kind == ice.EventCandidate {
				peer.tell <- message{candidate: e.Candidate.String()}
			}
		}
	}()
	credentials := <-peer.hear
	if err := agent.SetRemote(ice.Credentials{Ufrag: credentials.ufrag, Pwd: credentials.pwd}); err != nil {
		return nil, err
	}
	go func() {
		for m := range peer.hear {
			if c, err := ice.ParseCandidate(m.candidate); err == nil {
				_ = agent.AddRemote(c)
			}
		}
	}()
	return agent.Connect(ctx)
}

// A program on pion/ice v2 and one that has moved to package ice connect: a fleet can be
// moved a part at a time.
func Example_migration() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	endpoint, err := ice.Listen(ctx, ice.Config{
		Networks: []string{"udp4"}, Loopback: true, Filter: func(h ice.HostAddr) bool { return h.Addr.IsLoopback() },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()

	there, back := make(chan message, 16), make(chan message, 16)
	var old, moved net.Conn
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() {
		old, errs[0] = before(ctx, pion.AgentConfig{
			NetworkTypes: []pion.NetworkType{pion.NetworkTypeUDP4}, CandidateTypes: []pion.CandidateType{pion.CandidateTypeHost},
			MulticastDNSMode: pion.MulticastDNSModeDisabled, IncludeLoopback: true, IPFilter: net.IP.IsLoopback,
		}, true, signalling{there, back})
	})
	wg.Go(func() { moved, errs[1] = after(ctx, endpoint, false, signalling{back, there}) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			log.Fatal(err)
		}
	}
	defer old.Close()
	if _, err := old.Write([]byte("hello from pion")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, err := moved.Read(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:n])
	// Output: hello from pion
}
