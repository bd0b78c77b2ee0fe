package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/ice/pionice"
	pion "github.com/pion/ice/v2"
)

// name is a candidate for people.
func name(c ice.Candidate) string {
	text := fmt.Sprintf("%v %v %v", c.Type, c.Transport, c.Addr)
	if c.TCPType != ice.NotTCP {
		text += " " + c.TCPType.String()
	}
	return text
}

// theirName is the name of a candidate of pion's; those that it learned of over TCP have
// lost their side, and so have no other form.
func theirName(c pion.Candidate) string {
	if ours, err := pionice.FromPion(c); err == nil {
		return name(ours)
	}
	return fmt.Sprintf("%v %v %s:%d", c.Type(), c.NetworkType().NetworkShort(), c.Address(), c.Port())
}

// report prints what each side has chosen, and what became of every pair of ours.
func (m *meeting) report(out io.Writer) {
	if p := m.ours.Selected(); p.IsValid() {
		fmt.Fprintf(out, "%s  selected   %s <-> %s\n", ourSide, name(p.Local), name(p.Remote))
	}
	if p, err := m.theirs.GetSelectedCandidatePair(); err == nil && p != nil {
		fmt.Fprintf(out, "%s  selected   %s <-> %s\n", theirSide, theirName(p.Local), theirName(p.Remote))
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(table, "PAIRS OF OURS\tLOCAL\tREMOTE\tCHECKS\tANSWERED\tOF THE PEER\tRTT\tWHY")
	for _, p := range m.ours.Pairs() {
		state := p.State.String()
		switch {
		case p.Nominated:
			state += ", nominated"
		case p.Valid:
			state += ", usable"
		}
		rtt, why := "-", "-"
		if p.RTT > 0 {
			rtt = p.RTT.Round(10 * time.Microsecond).String()
		}
		if p.Err != nil {
			why = p.Err.Error()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", state, name(p.Local), name(p.Remote), p.Sent, p.Answered, p.Requests, rtt, why)
	}
}
