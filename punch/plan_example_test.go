package punch_test

import (
	"fmt"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
)

// A cone, and a NAT that gives random ports out of the few that it has for the host.
func ExamplePlan() {
	local := natprobe.Profile{
		Mapping: natprobe.MappingEndpointIndependent, Filtering: natprobe.FilteringAddressAndPortDependent,
	}
	remote := natprobe.Profile{
		Mapping: natprobe.MappingAddressAndPortDependent, Filtering: natprobe.FilteringAddressAndPortDependent,
		Ports: natprobe.Ports{Model: natprobe.PortsBlock, Low: 20480, High: 20991},
	}
	for _, l := range punch.Plan(local, remote, punch.Budget{}) {
		if l.Ruled != "" {
			fmt.Printf("%v: no, because %s\n", l.Kind, l.Ruled)
			continue
		}
		fmt.Printf("%v: %.0f %%, we send %d probes in %v\n", l.Kind, 100*l.Probability, l.Probes, l.Time)
	}
	// Output:
	// birthday: 99 %, we send 69 probes in 172.5ms
	// plain: no, because the peer's NAT gives each destination another port
	// one_packet: no, because your NAT filters by port
	// mapped: no, because no router has mapped a port
	// predicted: no, because the peer's NAT gives random ports out of a block of about 512
	// crossing: no, because only the peer's NAT is known to give each destination another port
	// blocks: no, because only the peer's NAT is known to give each destination another port
	// tcp_simultaneous_open: no, because UDP is not known to be blocked on either side, and TCP would meet the same NATs
	// tcp_predicted: no, because UDP is not known to be blocked on either side, and TCP would meet the same NATs
}

func ExampleBecause() {
	random := natprobe.Profile{
		Mapping: natprobe.MappingAddressAndPortDependent, Filtering: natprobe.FilteringAddressAndPortDependent,
		Ports: natprobe.Ports{Model: natprobe.PortsRandom},
	}
	lanes := punch.Plan(random, random, punch.Budget{})
	why, remedy := punch.Because(lanes)
	fmt.Printf("possible: %v, because %s; %s\n", punch.Possible(lanes), why, remedy)
	// Output:
	// possible: no, because both NATs give random ports of their whole range; enable UPnP or PCP on either router
}
