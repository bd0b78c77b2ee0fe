package main

import (
	"fmt"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/ice/pionice"
)

// teller prints what happened, for people or as JSON.
type teller struct{ *cli.Teller }

// record is a line in JSON.
type record struct {
	Who         string   `json:"who"`
	Event       string   `json:"event"` // answered, times, or a pionice.Kind
	Sent        string   `json:"sent,omitempty"`
	Got         string   `json:"got,omitempty"`
	MS          *float64 `json:"ms,omitempty"` // since the recorder was made
	From        string   `json:"from,omitempty"`
	State       string   `json:"state,omitempty"`
	Local       string   `json:"local,omitempty"`
	Remote      string   `json:"remote,omitempty"`
	Error       string   `json:"error,omitempty"`
	GatheredMS  *float64 `json:"gathered_ms,omitempty"`
	ConnectedMS *float64 `json:"connected_ms,omitempty"`
}

func (t teller) answered(p *peer, sent, got string) {
	t.Say(record{Who: p.name, Event: "answered", Sent: sent, Got: got}, "%s sent %q and got %q back", p.name, sent, got)
}

// report prints what the recorder has.
func (p *peer) report(out teller) {
	if !out.JSON {
		fmt.Fprintf(out.W, "\n%s\n", p.name)
	}
	for _, e := range p.rec.Events() {
		out.Say(p.record(e), "%v", e)
	}
	if t := p.rec.Times(); !t.Connected.IsZero() && !t.GatheringDone.IsZero() {
		gathered, connected := t.GatheringDone.Sub(t.Began), t.Connected.Sub(t.Checking)
		out.Say(record{Who: p.name, Event: "times", GatheredMS: ms(gathered), ConnectedMS: ms(connected)},
			"gathered within %v, connected %v after the first check", gathered.Round(time.Microsecond), connected.Round(time.Microsecond))
	}
}

// record is a recorder's event.
func (p *peer) record(e pionice.Event) record {
	r := record{Who: p.name, Event: e.Kind.String(), MS: ms(e.After), From: e.From, State: e.State, Local: name(e.Local), Remote: name(e.Remote)}
	if e.Err != nil {
		r.Error = e.Err.Error()
	}
	return r
}

// name is a candidate in short; nothing if it is none.
func name(c ice.Candidate) string {
	if !c.Addr.IsValid() {
		return ""
	}
	return fmt.Sprintf("%v %v %v", c.Type, c.Transport, c.Addr)
}

func ms(d time.Duration) *float64 {
	n := float64(d.Microseconds()) / 1000
	return &n
}
