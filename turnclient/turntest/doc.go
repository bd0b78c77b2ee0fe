// Package turntest is a small TURN server as a sans-IO machine, so that worlds with
// relays replay exactly in the simulator. It is for tests: it keeps what it should keep
// and refuses what it should refuse, but nobody has hardened it.
package turntest
