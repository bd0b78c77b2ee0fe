// Package bradawl gets a program a direct path to its peer through the NATs
// between them.
//
// Most computers sit behind a NAT, a router that lets nothing in that was not
// asked for. Two such computers can still talk without a relay if both send first
// and at about the same time: each packet that leaves opens its own router for
// the other side's. That is hole punching, and it takes four things, each a
// package that can be used alone:
//
//   - to know the address that the router gives a socket, and what sort of router it is:
//     [github.com/bradawl/bradawl/natprobe] asks STUN servers from that very
//     socket, and natprobe/stunserver is a server to ask;
//   - to tell the peer about it, and to hear of the peer's:
//     [github.com/bradawl/bradawl/punch/rendezvous] is a meeting point over
//     WebSocket, server and client, which pairs peers by identity or by room;
//   - to send at the right moment, and to know friend from stranger:
//     [github.com/bradawl/bradawl/punch] opens the hole, over UDP or TCP, with
//     authenticated probes and returns the path;
//   - to try it without two routers: examples/twopeer runs all of it over a
//     simulated internet with a NAT at either end.
//
// # Where to start
//
// Run "go run ./examples/twopeer" and read what it prints. Then read
// examples/peer, which does the same over real sockets, and the example of
// package punch, which is the shortest program that opens a hole.
//
// # What is in this package
//
// Identities, which the other packages take: a peer is its key ([PeerID], [Identity]).
// The Session, which is to wire the parts together behind one Dial, comes when its
// parts are there; an ICE agent is still missing, and turnclient, for the pairs of NATs
// that cannot be punched, is not done. CHANGELOG.md tells what exists, ARCHITECTURE.md
// how it is built.
package bradawl
