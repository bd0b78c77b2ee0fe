package main

import (
	"strings"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
)

// printer writes whole lines from several goroutines, for people or as JSON.
type printer struct{ *cli.Teller }

// record is a line in JSON.
type record struct {
	Event  string `json:"event"`
	Peer   string `json:"peer,omitempty"` // a PeerID
	Room   string `json:"room,omitempty"`
	Text   string `json:"text,omitempty"`
	Path   string `json:"path,omitempty"` // direct, relay or none
	Proto  string `json:"proto,omitempty"`
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (p printer) self(id bradawl.PeerID) {
	p.Say(record{Event: "self", Peer: id.String()}, "I am %s", id)
}

func (p printer) noRendezvous(err error) {
	p.Say(record{Event: "no_rendezvous", Error: err.Error()}, "-- no rendezvous, trying again: %v", err)
}

func (p printer) waiting(room string) {
	r := record{Event: "waiting", Room: room}
	if room == "" {
		p.Say(r, "waiting for somebody who dials me")
	} else {
		p.Say(r, "waiting in room %q", room)
	}
}

func (p printer) dialling(peer bradawl.PeerID) {
	p.Say(record{Event: "dialling", Peer: peer.String()}, "dialling %s", peer.Short())
}

func (p printer) talking(peer bradawl.PeerID) {
	p.Say(record{Event: "talking", Peer: peer.String()}, "talking to %s; /why explains the path, /quit ends", peer.Short())
}

func (p printer) path(by bradawl.Path) {
	r := record{Event: "path", Path: "none"}
	if by.IsValid() {
		r.Path, r.Proto, r.Local, r.Remote = string(by.Kind), by.Protocol, by.Local.String(), by.Remote.String()
	}
	p.Say(r, "-- %v", by)
}

func (p printer) said(peer bradawl.PeerID, text []byte) {
	p.Say(record{Event: "said", Peer: peer.String(), Text: string(text)}, "%s: %s", peer.Short(), printable(text))
}

func (p printer) why(x bradawl.Explanation) {
	p.Say(record{Event: "why", Text: x.String()}, "%v", x)
}

func (p printer) notSent(err error) {
	p.Say(record{Event: "not_sent", Error: err.Error()}, "-- not sent: %v", err)
}

func (p printer) left(peer bradawl.PeerID) {
	p.Say(record{Event: "left", Peer: peer.String()}, "-- %s has left", peer.Short())
}

// printable leaves out what would steer the terminal.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(b), "?"))
}
