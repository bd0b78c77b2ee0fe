package pionice_test

import (
	"fmt"
	"log"
	"net"
	"net/netip"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/ice/pionice"
	pion "github.com/pion/ice/v2"
)

// A recorder at an agent of pion's, beside the application's own handler.
func ExampleRecorder_Observe() {
	agent, err := pion.NewAgent(&pion.AgentConfig{
		NetworkTypes:     []pion.NetworkType{pion.NetworkTypeUDP4},
		CandidateTypes:   []pion.CandidateType{pion.CandidateTypeHost},
		MulticastDNSMode: pion.MulticastDNSModeDisabled,
		IncludeLoopback:  true,
		IPFilter:         net.IP.IsLoopback,
	})
	if err != nil {
		log.Fatal(err)
	}
	rec := pionice.NewRecorder(pionice.RecorderConfig{Session: "caller"})
	gathered := make(chan struct{})
	observed, err := rec.Observe(agent, pionice.Handlers{OnCandidate: func(c pion.Candidate) {
		if c == nil {
			close(gathered)
		} // else signal it to the peer
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := observed.GatherCandidates(); err != nil { // and so on, as with pion's agent
		log.Fatal(err)
	}
	<-gathered
	for _, e := range rec.Events() {
		fmt.Println(e.Session, e.Kind)
	}
	if err := observed.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// caller gathered
	// caller gathering_done
}

// What a peer gets told: pion's candidate with the priority that a score gives it.
func ExampleRank() {
	p, err := pion.NewCandidateHost(&pion.CandidateHostConfig{Network: "udp", Address: "192.0.2.1", Port: 5000, Component: 1, Foundation: "1"})
	if err != nil {
		log.Fatal(err)
	}
	c, err := pionice.FromPion(p)
	if err != nil {
		log.Fatal(err)
	}
	scores := map[netip.Addr]uint16{netip.MustParseAddr("192.0.2.1"): 40000}
	preference := func(a netip.Addr) (uint16, bool) { s, ok := scores[a]; return s, ok }
	fmt.Println(c)
	fmt.Println(pionice.Rank(c, preference))
	// Output:
	// candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host
	// candidate:1 1 udp 2124169471 192.0.2.1 5000 typ host
}

// A candidate from the peer's signalling, which pion's own parser would have cut short.
func ExampleToPion() {
	c, err := ice.ParseCandidate("candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0 ufrag abcd")
	if err != nil {
		log.Fatal(err)
	}
	p, err := pionice.ToPion(c)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p, p.Foundation())
	fmt.Println("not carried:", pionice.Lost(c))
	// Output:
	// udp4 host 192.0.2.1:5000 1
	// not carried: [generation ufrag]
}
