package ice_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/bradawl/bradawl/ice"
)

// onLoopback is an endpoint that a peer on this machine can reach, and nobody else.
func onLoopback(ctx context.Context) (*ice.Endpoint, error) {
	return ice.Listen(ctx, ice.Config{
		Networks: []string{"udp4"},
		Loopback: true,
		Filter:   func(h ice.HostAddr) bool { return h.Addr.IsLoopback() },
	})
}

// Two agents in one program find each other and talk. What they tell each other goes by a
// signalling of their own in real programs; here it is function calls.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	var agents [2]*ice.Agent
	for i := range agents {
		endpoint, err := onLoopback(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer endpoint.Close()
		// One of the two chooses the path: by custom the one that made the offer.
		if agents[i], err = endpoint.NewAgent(ice.AgentConfig{Controlling: i == 0}); err != nil {
			log.Fatal(err)
		}
	}
	for i, from := range agents {
		to := agents[1-i]
		if err := to.SetRemote(from.LocalCredentials()); err != nil {
			log.Fatal(err)
		}
		for _, c := range from.LocalCandidates() {
			if err := to.AddRemote(c.Candidate); err != nil {
				log.Fatal(err)
			}
		}
	}

	caller, err := agents[0].Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	callee, err := agents[1].Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := caller.Write([]byte("hello")); err != nil {
		log.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, err := callee.Read(buf)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", buf[:n])
	// Output: hello
}

// Candidates are told as they are found, and nobody waits for the last of them. tell stands
// for the program's signalling.
func ExampleAgent_Next() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	endpoint, err := onLoopback(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()
	agent, err := endpoint.NewAgent(ice.AgentConfig{})
	if err != nil {
		log.Fatal(err)
	}
	tell := func(what string) { fmt.Println("tell the peer:", what) }
	for {
		e, err := agent.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		switch e.Kind {
		case ice.EventCandidate:
			tell(fmt.Sprintf("a candidate: %v, %v", e.Candidate.Type, e.Candidate.Addr.Addr())) // e.Candidate.String() is its attribute
		case ice.EventGathered:
			tell("there are no more")
			return
		case ice.EventRestarted:
			tell("other credentials") // e.Credentials
		case ice.EventState:
			fmt.Println("now", e.State)
		}
	}
	// Output:
	// tell the peer: a candidate: host, 127.0.0.1
	// tell the peer: there are no more
}

// Why there is no path: what was tried, and what was wrong with each pair.
func ExampleFailedError() {
	ctx := context.Background()
	endpoint, err := ice.Listen(ctx, ice.Config{STUN: []string{"stun.example.org"}})
	if err != nil {
		log.Fatal(err)
	}
	defer endpoint.Close()
	agent, err := endpoint.NewAgent(ice.AgentConfig{Controlling: true})
	if err != nil {
		log.Fatal(err)
	}
	// Here goes what the peer has told: SetRemote, AddRemote.
	_, err = agent.Connect(ctx)
	var failed *ice.FailedError
	if errors.As(err, &failed) {
		fmt.Println(failed) // how many were tried, what was heard, what to look at
		for _, p := range failed.Pairs {
			fmt.Printf("%v -> %v: %d checks: %v\n", p.Local.Addr, p.Remote.Addr, p.Sent, p.Err)
		}
		if errors.Is(err, ice.ErrSilent) {
			fmt.Println("a relay may help")
		}
	}
}
