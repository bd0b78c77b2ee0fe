package drive_test

import (
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// What machines ask for, in short.

func address(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func open(id machine.SocketID, local string) machine.Transmit {
	return machine.Transmit{Op: machine.OpenSocket, Socket: id, Local: address(local)}
}

func shut(id machine.SocketID) machine.Transmit {
	return machine.Transmit{Op: machine.CloseSocket, Socket: id}
}

func say(id machine.SocketID, to, what string) machine.Transmit {
	return machine.Transmit{Op: machine.Send, Socket: id, Remote: address(to), Data: []byte(what)}
}

func sayFrom(id machine.SocketID, from, to, what string) machine.Transmit {
	t := say(id, to, what)
	t.Local = address(from)
	return t
}

func dial(id machine.StreamID, local, remote string) machine.Transmit {
	return machine.Transmit{Op: machine.Dial, Stream: id, Local: address(local), Remote: address(remote)}
}

func write(id machine.StreamID, what string) machine.Transmit {
	return machine.Transmit{Op: machine.Write, Stream: id, Data: []byte(what)}
}

func hangUp(id machine.StreamID) machine.Transmit {
	return machine.Transmit{Op: machine.Close, Stream: id}
}

func reset(id machine.StreamID) machine.Transmit {
	return machine.Transmit{Op: machine.Reset, Stream: id}
}

func at(d time.Duration, ts ...machine.Transmit) step { return step{d, ts} }

func steps(s ...step) []step { return s }

type reactions = map[string][]machine.Transmit

const (
	ms  = time.Millisecond
	in0 = machine.AcceptedBase
	in1 = in0 + 1
)

var contracts = []contract{
	{
		name: "open and send",
		a: script{steps: steps(
			at(0, open(7, "192.0.2.1:5007"), open(8, "0.0.0.0:5008"), open(9, "")),
			at(100*ms, say(7, "192.0.2.2:6000", "seven"), say(8, "192.0.2.2:6000", "eight"), say(9, "[::ffff:192.0.2.2]:6000", "nine")),
		)},
		b: script{sockets: []string{"192.0.2.2:6000"}, react: reactions{
			"datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5008: eight": {say(0, "192.0.2.1:5008", "back")},
		}},
		tellA: `socket-opened 7 on 192.0.2.1:5007
			socket-opened 8 on 0.0.0.0:5008
			socket-opened 9 on 0.0.0.0:*
			datagram 8 at 192.0.2.1:5008 from 192.0.2.2:6000: back`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5007: seven
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5008: eight
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:*: nine`,
	},
	{
		name: "a socket number in use",
		a: script{sockets: []string{"192.0.2.1:5000"}, steps: steps(
			at(0, open(0, "192.0.2.1:5001"), open(7, "192.0.2.1:5007"), open(7, "192.0.2.1:5008")),
			at(100*ms, open(7, "192.0.2.1:5009")),
			at(200*ms, say(0, "192.0.2.2:6000", "zero"), say(7, "192.0.2.2:6000", "seven")),
			at(300*ms, shut(7), open(7, "192.0.2.1:5008")),
		)},
		b: script{sockets: []string{"192.0.2.2:6000"}},
		tellA: `socket-failed 0 on 192.0.2.1:5001: number in use
			socket-opened 7 on 192.0.2.1:5007
			socket-failed 7 on 192.0.2.1:5008: number in use
			socket-failed 7 on 192.0.2.1:5009: number in use
			socket-opened 7 on 192.0.2.1:5008`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: zero
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5007: seven`,
	},
	{
		name: "an address that cannot be bound",
		a: script{sockets: []string{"192.0.2.1:5000"}, steps: steps(
			at(0, open(7, "192.0.2.1:5000"), open(8, "192.0.2.2:5000")),
			at(100*ms, open(7, "192.0.2.1:5001")),
		)},
		tellA: `socket-failed 7 on 192.0.2.1:5000: port in use
			socket-failed 8 on 192.0.2.2:5000: no such addr
			socket-opened 7 on 192.0.2.1:5001`,
	},
	{
		name: "open and close at once",
		a: script{sockets: []string{"192.0.2.1:5000"}, steps: steps(
			at(0, open(7, "192.0.2.1:5007"), shut(7), open(8, "192.0.2.1:5000"), shut(8), open(0, ""), shut(0)),
			at(100*ms, open(7, "192.0.2.1:5007"), shut(7), open(7, "192.0.2.1:5007")),
			at(200*ms, open(0, "192.0.2.1:5000"), shut(77), say(77, "192.0.2.2:6000", "from nowhere")),
		)},
		b: script{sockets: []string{"192.0.2.2:6000"}},
		tellA: `socket-opened 7 on 192.0.2.1:5007
			socket-opened 0 on 192.0.2.1:5000`,
	},
	{
		name: "sending before the socket is open",
		a: script{
			steps: steps(at(0, open(7, "192.0.2.1:5007"), say(7, "192.0.2.2:6000", "too early"))),
			react: reactions{"socket-opened 7 on 192.0.2.1:5007": {say(7, "192.0.2.2:6000", "in time")}},
		},
		b:     script{sockets: []string{"192.0.2.2:6000"}},
		tellA: `socket-opened 7 on 192.0.2.1:5007`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5007: in time`,
	},
	{
		name: "datagrams for a closed socket",
		a: script{sockets: []string{"192.0.2.1:5000", "192.0.2.1:5001"}, steps: steps(at(10*ms, shut(1))), react: reactions{
			"datagram 0 at 192.0.2.1:5000 from 192.0.2.2:6000: first": {shut(0)},
		}},
		b: script{sockets: []string{"192.0.2.2:6000"}, steps: steps(
			at(0, say(0, "192.0.2.1:5000", "first"), say(0, "192.0.2.1:5000", "second"), say(0, "192.0.2.1:5001", "under way")),
		)},
		tellA: `datagram 0 at 192.0.2.1:5000 from 192.0.2.2:6000: first`,
		// Whether the system had the second one already shows in ICMP.
		ignoreB: true,
	},
	{
		name: "length",
		a:    script{sockets: []string{"192.0.2.1:5000"}},
		b: script{sockets: []string{"192.0.2.2:6000"}, steps: steps(at(0,
			say(0, "192.0.2.1:5000", ""),
			say(0, "192.0.2.1:5000", strings.Repeat("x", machine.MaxDatagram)),
			say(0, "192.0.2.1:5000", strings.Repeat("x", machine.MaxDatagram+1)),
			say(0, "192.0.2.1:5000", strings.Repeat("x", 70000)),
		))},
		tellA: `datagram 0 at 192.0.2.1:5000 from 192.0.2.2:6000
			datagram 0 at 192.0.2.1:5000 from 192.0.2.2:6000: 4095 bytes`,
	},
	{
		name: "ICMP",
		a: script{sockets: []string{"0.0.0.0:5000"}, steps: steps(at(0,
			say(0, "192.0.2.2:9", "nobody there"),
			machine.Transmit{Remote: address("192.0.2.2:6000"), TTL: 1, Data: []byte("not far")},
			say(0, "198.51.100.1:9", "no such host"),
			say(0, "[2001:db8::1]:9", "no such network"),
		))},
		b:     script{sockets: []string{"192.0.2.2:6000"}},
		tellA: `unreachable 0 on 0.0.0.0:5000, remote 192.0.2.2:9: port unreachable`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: not far`,
	},
	{
		name: "answers leave from the address that was asked",
		a: script{sockets: []string{"0.0.0.0:5000", "192.0.2.1:5001"}, react: reactions{
			"datagram 0 at 192.0.2.11:5000 from 192.0.2.2:6000: question": {
				sayFrom(0, "192.0.2.11:1", "192.0.2.2:6000", "chosen"),
				sayFrom(0, "0.0.0.0:5000", "192.0.2.2:6000", "unspecified"),
				sayFrom(0, "[2001:db8::1]:5000", "192.0.2.2:6000", "another family"),
				sayFrom(0, "224.0.0.1:5000", "192.0.2.2:6000", "multicast"),
				say(0, "192.0.2.2:6000", "none"),
				sayFrom(0, "192.0.2.99:5000", "192.0.2.2:6000", "not ours"),
				sayFrom(1, "192.0.2.11:5001", "192.0.2.2:6000", "bound"),
			},
		}},
		b:     script{sockets: []string{"192.0.2.2:6000"}, steps: steps(at(0, say(0, "192.0.2.11:5000", "question")))},
		tellA: `datagram 0 at 192.0.2.11:5000 from 192.0.2.2:6000: question`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.11:5000: chosen
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: unspecified
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: another family
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: multicast
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: none
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5001: bound`,
	},
	{
		name: "events",
		a: script{sockets: []string{"192.0.2.1:5000"}, says: []string{"first", "second"}, owner: reactions{
			"first":  {say(0, "192.0.2.2:6000", "about the first")},
			"second": {say(0, "192.0.2.2:6000", "about the second"), open(7, "192.0.2.1:5007")},
		}},
		b: script{sockets: []string{"192.0.2.2:6000"}, steps: steps(at(0, say(0, "192.0.2.1:5000", "news")))},
		tellA: `datagram 0 at 192.0.2.1:5000 from 192.0.2.2:6000: news
			event first
			event second
			socket-opened 7 on 192.0.2.1:5007`,
		tellB: `datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: about the first
			datagram 0 at 192.0.2.2:6000 from 192.0.2.1:5000: about the second`,
	},
	{
		name: "a stream from beginning to end",
		a: script{steps: steps(
			at(0, dial(1, "192.0.2.1:5000", "192.0.2.2:80"), write(1, "early, ")),
			at(100*ms, write(1, "hello, "), write(1, "world")),
			at(200*ms, write(1, strings.Repeat("x", 50)), hangUp(1), write(1, "too late"), reset(1)),
		)},
		b: script{listen: []string{"192.0.2.2:80"}, react: reactions{
			"received #0 192.0.2.1:5000: early, hello, world": {write(in0, "and "), write(in0, "back")},
		}},
		tellA: `connected 1 192.0.2.1:5000 to 192.0.2.2:80
			received 1 192.0.2.2:80: and back`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:5000
			received #0 192.0.2.1:5000: early, hello, world` + strings.Repeat("x", 50) + `
			closed #0 192.0.2.1:5000`,
	},
	{
		name: "the side that came in ends",
		a: script{steps: steps(at(0, dial(1, "", "192.0.2.2:80")), at(time.Second, dial(1, "", "192.0.2.2:80"))), react: reactions{
			"closed 1 192.0.2.2:80": {write(1, "still heard by the system"), dial(2, "", "192.0.2.2:81")},
		}},
		b: script{listen: []string{"192.0.2.2:80"}, react: reactions{
			"accepted #0 192.0.2.2:80 to 192.0.2.1:*": {write(in0, "bye"), hangUp(in0)},
			"accepted #1 192.0.2.2:80 to 192.0.2.1:*": {write(in1, "bye"), hangUp(in1)},
		}},
		tellA: `connected 1 192.0.2.1:* to 192.0.2.2:80
			received 1 192.0.2.2:80: bye
			closed 1 192.0.2.2:80
			closed 2 192.0.2.2:81: refused
			connected 1 192.0.2.1:* to 192.0.2.2:80
			received 1 192.0.2.2:80: bye
			closed 1 192.0.2.2:80
			closed 2 192.0.2.2:81: refused`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*
			accepted #1 192.0.2.2:80 to 192.0.2.1:*`,
	},
	{
		name: "reset",
		a: script{steps: steps(
			at(0, dial(1, "", "192.0.2.2:80")),
			at(50*ms, dial(2, "", "192.0.2.2:80")),
			at(100*ms, reset(1)),
			at(300*ms, dial(1, "", "192.0.2.2:80")),
		)},
		b: script{listen: []string{"192.0.2.2:80"}, steps: steps(at(200*ms, reset(in1)))},
		tellA: `connected 1 192.0.2.1:* to 192.0.2.2:80
			connected 2 192.0.2.1:* to 192.0.2.2:80
			closed 2 192.0.2.2:80: reset
			connected 1 192.0.2.1:* to 192.0.2.2:80`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*
			accepted #1 192.0.2.2:80 to 192.0.2.1:*
			closed #0 192.0.2.1:*: reset
			accepted #2 192.0.2.2:80 to 192.0.2.1:*`,
	},
	{
		name: "an end answered by a reset",
		a: script{steps: steps(at(0, dial(1, "192.0.2.1:5000", "192.0.2.2:80"))), react: reactions{
			// Were it an end, too, TIME-WAIT would keep the two ports from each other.
			"closed 1 192.0.2.2:80": {reset(1), dial(2, "192.0.2.1:5000", "192.0.2.2:80")},
		}},
		b: script{listen: []string{"192.0.2.2:80"}, react: reactions{
			"accepted #0 192.0.2.2:80 to 192.0.2.1:5000": {hangUp(in0)},
		}},
		tellA: `connected 1 192.0.2.1:5000 to 192.0.2.2:80
			closed 1 192.0.2.2:80
			connected 2 192.0.2.1:5000 to 192.0.2.2:80`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:5000
			accepted #1 192.0.2.2:80 to 192.0.2.1:5000`,
	},
	{
		name: "a dial that fails",
		a: script{
			steps: steps(at(0, dial(1, "", "192.0.2.2:81"), write(1, "lost"), dial(2, "192.0.2.99:0", "192.0.2.2:80"))),
			react: reactions{"closed 1 192.0.2.2:81: refused": {dial(1, "", "192.0.2.2:80")}},
		},
		b: script{listen: []string{"192.0.2.2:80"}},
		tellA: `closed 2 192.0.2.2:80: no such addr
			closed 1 192.0.2.2:81: refused
			connected 1 192.0.2.1:* to 192.0.2.2:80`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*`,
	},
	{
		name: "a stream number in use",
		a: script{steps: steps(
			at(0, dial(1, "", "192.0.2.2:80"), dial(1, "", "192.0.2.2:81")),
			at(100*ms, dial(1, "", "192.0.2.2:81"), write(1, "I live")),
		)},
		b: script{listen: []string{"192.0.2.2:80"}},
		tellA: `closed 1 192.0.2.2:81: number in use
			connected 1 192.0.2.1:* to 192.0.2.2:80
			closed 1 192.0.2.2:81: number in use`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*
			received #0 192.0.2.1:*: I live`,
	},
	{
		name: "a dial that is dropped",
		a: script{steps: steps(
			at(0, dial(1, "", "192.0.2.2:80"), reset(1), dial(2, "", "192.0.2.2:80"), hangUp(2), dial(3, "192.0.2.99:0", "192.0.2.2:80"), reset(3)),
			at(100*ms, dial(1, "", "192.0.2.2:80")),
			at(105*ms, reset(1)),
			at(200*ms, write(9, "nobody"), hangUp(9), reset(9)),
		)},
		b: script{listen: []string{"192.0.2.2:80"}},
	},
	{
		name: "much at once",
		link: simnet.Link{Rate: 10_000_000},
		a: script{steps: steps(
			at(0, dial(1, "", "192.0.2.2:80")),
			at(100*ms, write(1, strings.Repeat("x", 200<<10)), hangUp(1)),
		)},
		b:     script{listen: []string{"192.0.2.2:80"}},
		tellA: `connected 1 192.0.2.1:* to 192.0.2.2:80`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*
			received #0 192.0.2.1:*: ` + strings.Repeat("x", 200<<10) + `
			closed #0 192.0.2.1:*`,
	},
	{
		name: "more than the other side takes",
		link: simnet.Link{Rate: 1_000_000},
		a: script{steps: steps(
			at(0, dial(1, "", "192.0.2.2:80")),
			at(100*ms, repeat(16, write(1, strings.Repeat("x", 64<<10)))...),
			at(time.Second, dial(1, "", "192.0.2.2:81")),
		)},
		b: script{listen: []string{"192.0.2.2:80"}},
		tellA: `connected 1 192.0.2.1:* to 192.0.2.2:80
			closed 1 192.0.2.2:80: overflow
			closed 1 192.0.2.2:81: refused`,
		ignoreB: true,
	},
	{
		name: "the runner is closed",
		a: script{sockets: []string{"192.0.2.1:5000"}, stop: 200 * ms, steps: steps(
			at(0, dial(1, "", "192.0.2.2:80")),
			at(50*ms, dial(2, "", "192.0.2.2:80")),
			at(150*ms, write(2, "bye"), hangUp(2)),
			at(195*ms, dial(3, "", "192.0.2.2:80")),
		)},
		b: script{sockets: []string{"192.0.2.2:6000"}, listen: []string{"192.0.2.2:80"}, steps: steps(
			at(300*ms, say(0, "192.0.2.1:5000", "anybody?")),
		)},
		tellA: `connected 1 192.0.2.1:* to 192.0.2.2:80
			connected 2 192.0.2.1:* to 192.0.2.2:80`,
		tellB: `accepted #0 192.0.2.2:80 to 192.0.2.1:*
			accepted #1 192.0.2.2:80 to 192.0.2.1:*
			received #1 192.0.2.1:*: bye
			closed #1 192.0.2.1:*
			closed #0 192.0.2.1:*: reset
			unreachable 0 on 192.0.2.2:6000, remote 192.0.2.1:5000: port unreachable`,
	},
}

func repeat(n int, t machine.Transmit) (all []machine.Transmit) {
	for range n {
		all = append(all, t)
	}
	return all
}
