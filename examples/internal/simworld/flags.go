package simworld

import (
	"flag"
	"strings"

	"github.com/bradawl/bradawl/internal/simnet"
)

// NATFlags defines -nat-a and -nat-b: which presets of simnet the two peers sit behind. Both
// are port-restricted-cone unless who calls the program says otherwise.
func NATFlags(flags *flag.FlagSet, nats *[2]string) {
	for i := range nats {
		nats[i] = "port-restricted-cone"
	}
	flags.Var((*natFlag)(&nats[0]), "nat-a", "`preset` of the NAT that "+Peers[0]+" sits behind: "+strings.Join(simnet.PresetNames(), ", "))
	flags.Var((*natFlag)(&nats[1]), "nat-b", "`preset` of "+Peers[1]+"'s NAT")
}

// natFlag is a flag.Value: the name of a preset that there is.
type natFlag string

func (n *natFlag) String() string { return string(*n) }

func (n *natFlag) Set(name string) error {
	_, err := simnet.PresetByName(name)
	if err == nil {
		*n = natFlag(name)
	}
	return err
}
