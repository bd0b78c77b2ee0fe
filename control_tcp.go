package bradawl

import (
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/natprobe"
)

// Where UDP is blocked on one side, what the NATs do with TCP comes to matter on both: only
// then is it looked at. Where one gives each connection another port that can be foretold, a
// lane opens connections, which the agents check as their own.

// Agents count their connections from 1, lanes from here: those to peers, and those to STUN
// servers.
const (
	firstLaneStream machine.StreamID = 1 << 30
	firstLaneQuery  machine.StreamID = 1 << 29
)

// noSocket is no socket's number: an attempt by TCP has none of UDP.
const noSocket = ^machine.SocketID(0)

// isQuery reports whether a connection is one of a lane's to a STUN server.
func isQuery(id machine.StreamID) bool { return id >= firstLaneQuery && id < firstLaneStream }

// lookAtTCP has the shell find out what our NAT does with TCP, once, when that matters.
func (c *control) lookAtTCP() {
	if c.tcpAsked || c.profile == (natprobe.Profile{}) || c.profile.TCP != (natprobe.TCPProfile{}) || c.cfg.policy == RelayOnly {
		return
	}
	blocked := c.profile.Type == natprobe.TypeUDPBlocked
	if blocked && !c.cfg.noLanes || slices.ContainsFunc(c.links, func(k *link) bool {
		return (blocked || k.profile.Type == natprobe.TypeUDPBlocked) && k.lane.spend != nil && !k.lane.spend.off
	}) {
		c.tcpAsked = true
		c.notes.Push(note{kind: noteTCP})
	}
}

// setTCP takes in what our NAT was found to do with TCP, and lets peers know.
func (c *control) setTCP(now time.Time, p natprobe.TCPProfile) {
	if all := c.profile; all != (natprobe.Profile{}) { // else it is of another NAT
		c.enter(now)
		all.TCP = p
		c.learn(now, all)
		c.pump(now)
	}
}
