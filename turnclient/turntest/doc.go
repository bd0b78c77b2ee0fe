// Package turntest is a small TURN server as a sans-IO machine, so that worlds with
// relays replay exactly in the simulator. It is for tests: it keeps what it should keep
// and refuses what it should refuse, but nobody has hardened it. Its counters tell what
// clients sent, and its [Config] makes it refuse what they must cope with.
//
// [Server] is the machine, UDP and TCP relays (RFC 8656, RFC 6062), which somebody has to
// run: the simulator, or an event loop over real sockets. [Stub] is a socket with such a
// server right behind it, for tests and benchmarks of a client alone. [Certificate] makes
// what a server over TLS or DTLS shows, and what clients trust it by.
package turntest
