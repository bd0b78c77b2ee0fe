// Package ice finds the paths between two hosts by Interactive Connectivity
// Establishment (RFC 8445), and keeps the best of them. It speaks to any conforming
// agent: those of this package, pion's, browsers'.
//
// An [Endpoint] is a set of sockets; a process should have one. An [Agent] is one
// conversation over it, with a peer that some signalling of the program's own has been
// agreed with; thousands share the endpoint's sockets and goroutines. A [Conn] is the
// agent's path as a net.Conn that carries datagrams.
//
//	endpoint, err := ice.Listen(ctx, ice.Config{STUN: []string{"stun.example.org"}})
//	agent, err := endpoint.NewAgent(ice.AgentConfig{Controlling: weOffer})
//	// tell the peer agent.LocalCredentials() and, from agent.Next, each EventCandidate
//	err = agent.SetRemote(theirCredentials)
//	err = agent.AddRemote(theirCandidate) // as they come, in any order
//	conn, err := agent.Connect(ctx)
//
// # Nothing waits
//
// Candidates are gathered from the moment that the endpoint listens, before there is an
// agent, and told as they are found (RFC 8838): host addresses at once, reflexive ones
// as STUN servers answer, relayed ones as an [Allocator] comes up. The first pair that
// works carries data, a relayed one too; when a better one works, data moves there, and
// the reader and the writer of the Conn do not notice. The controlling agent nominates a
// pair as soon as no better one can still win, which is a matter of round trips and not
// of a fixed time; AgentConfig.Patience bounds it. A check that is lost is followed by
// another within 33 ms on the best pairs, where a retransmission would take half a second.
//
// A pair is given up after ten seconds and not after a count of checks, so that candidates
// that trickle in late find it alive, and a check of the peer's revives one that was given
// up. An agent that has failed keeps its sockets: a restart, or the peer, may still find
// a way. [FailedError] says what was tried, what was heard and what to look at;
// [Agent.Pairs] tells of every pair at any time.
//
// # What stays of a path
//
// The peer's consent is asked every five seconds on the pair in use and on a spare (RFC
// 7675). Two questions without an answer make the agent [Disconnected], thirty seconds
// without one end the pair, and the spare takes over. [Agent.Restart] begins anew with
// other credentials, on a host that has moved, or after a failure; data keeps its old
// path until the new one stands, and what is still under way there is read for three
// seconds more. The peer's restart is noticed by its new credentials.
//
// By RFC 8445 the nominated pair carries all data. With AgentConfig.Multipath, which both
// sides must want, every pair that works stays usable, data takes the best of them at any
// time, and candidates may come for as long as the agent lives.
//
// # Relays, TCP, names
//
// A relayed address comes from an Allocator, such as a client of package turnclient; this
// package knows nothing of TURN, and waits for no relay. With "tcp4" and "tcp6" among
// Config.Networks there are TCP candidates too (RFC 6544), framed as RFC 4571 has it; a
// connection that breaks is opened again. Peers that hide their addresses behind mDNS
// names, as browsers do, are looked up by Config.Resolve, and passed over without it, since
// a lookup tells others whom we talk to.
//
// What a peer names is checked before anything is sent there: no loopback, no multicast, no
// cloud's metadata service, no port of well-known services. One agent sends 700 checks at
// most, 40 a second to an address that has not answered, and a process one transaction in
// 5 ms, whatever its peers say.
//
// An agent has one component. A second one was for RTCP, which shares its path with RTP
// since RFC 5761, and browsers insist on that; every other protocol has one flow, and each
// component more doubles the checks and the mappings that NATs must hold. Candidates of
// other components are passed over.
//
// # Scoring
//
// Each local candidate has a score from 0 to 1, the weighted mean of three terms
// ([ScoreConfig]):
//
//	interface  0.40  the quality of the interface: kind, speed, loss, signal ([InterfaceInfo.Quality])
//	rtt        0.25  the last five round trips measured from it ([RTTSamples.Quality])
//	history    0.35  what became of paths from its local network in the last 24 hours ([History])
//
// A term that nothing is known of is [Neutral], so that the unknown stands between the good
// and the bad. What is known of interfaces comes from the system ([SystemInterfaces]) or
// from the application. The score becomes the candidate's local preference
// ([Preferences]), so that what goes over the wire is RFC 8445's and the peer sees a
// number alone; [Explanation] says how it came about. An agent has the scores of the
// moment when it was made.
//
// # Machine and shell
//
// [Machine] is the whole protocol, of any number of agents, as a sans-IO machine (see
// internal/machine): no socket, no goroutine, no clock. It decides everything and runs in
// the simulator as it does here. Endpoint, Agent and Conn are the shell that runs it. What
// is read and written by a Conn does not pass through it: it goes to the socket, and comes
// from there, without an allocation.
package ice
