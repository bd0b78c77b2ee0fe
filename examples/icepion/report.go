package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
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

// teller prints what happens, for people or as JSON.
type teller struct{ *cli.Teller }

// record is a line in JSON.
type record struct {
	Event  string   `json:"event"`            // found, connected, selected, pair or message
	Side   string   `json:"side,omitempty"`   // ours or pion, of found, connected and selected
	Local  string   `json:"local,omitempty"`  // the candidate that was found, or a pair's
	Remote string   `json:"remote,omitempty"` // of a pair
	MS     *float64 `json:"ms,omitempty"`     // of connected, since the credentials were exchanged
	Number int      `json:"number,omitempty"` // of a message that came back, from 1
	*PairRecord
}

// PairRecord is what became of a pair of ours.
type PairRecord struct {
	State     string `json:"state"`
	Usable    bool   `json:"usable"`
	Nominated bool   `json:"nominated"`
	Checks    int    `json:"checks"`   // that we sent
	Answered  int    `json:"answered"` // of these
	Requests  int    `json:"requests"` // checks of the peer
	RTTus     int64  `json:"rtt_us,omitempty"`
	Why       string `json:"why,omitempty"` // it failed
}

func (t teller) found(f finding) {
	t.Say(record{Event: "found", Side: f.side, Local: name(f.candidate)}, "%s  found      %s", f.side, name(f.candidate))
}

func (t teller) connected(a arrival) {
	ms := float64(a.took.Microseconds()) / 1000
	t.Say(record{Event: "connected", Side: a.side, MS: &ms},
		"%s  connected %v after the credentials were exchanged", a.side, a.took.Round(10*time.Microsecond))
}

func (t teller) selected(side, local, remote string) {
	t.Say(record{Event: "selected", Side: side, Local: local, Remote: remote}, "%s  selected   %s <-> %s", side, local, remote)
}

func (t teller) message(number int) {
	t.Say(record{Event: "message", Number: number}, "message %d went to pion's side, and an answer came back", number)
}

// pairs prints all pairs of ours: a table for people, a line for each in JSON.
func (t teller) pairs(all []ice.Pair) {
	if t.JSON {
		for _, p := range all {
			r := record{Event: "pair", Local: name(p.Local), Remote: name(p.Remote), PairRecord: &PairRecord{
				State: p.State.String(), Usable: p.Valid, Nominated: p.Nominated,
				Checks: p.Sent, Answered: p.Answered, Requests: p.Requests, RTTus: p.RTT.Microseconds(),
			}}
			if p.Err != nil {
				r.Why = p.Err.Error()
			}
			t.Say(r, "")
		}
		return
	}
	fmt.Fprintln(t.W)
	table := tabwriter.NewWriter(t.W, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "PAIRS OF OURS\tLOCAL\tREMOTE\tCHECKS\tANSWERED\tOF THE PEER\tRTT\tWHY")
	for _, p := range all {
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

// report prints what each side has chosen, and what became of every pair of ours.
func (m *meeting) report(out teller) {
	if p := m.ours.Selected(); p.IsValid() {
		out.selected(ourSide, name(p.Local), name(p.Remote))
	}
	if p, err := m.theirs.GetSelectedCandidatePair(); err == nil && p != nil {
		out.selected(theirSide, theirName(p.Local), theirName(p.Remote))
	}
	out.pairs(m.ours.Pairs())
}
