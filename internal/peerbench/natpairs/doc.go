// Package natpairs has two peers of one implementation meet behind every pair of simulated
// NATs, in virtual time, and tells how many become direct, and how soon. Each has the same
// access links, the same STUN and TURN servers, and signalling that takes as long as the
// relay would:
//
//	go test ./natpairs -run Table -runs 20 -v
//
// from the folder of the module internal/peerbench.
//
// Ours are [bradawl.Session]s, which know their own NATs before they dial, as sessions do
// that live longer than one connection. pion's agents gather for each connection and
// trickle their candidates, with the defaults of the package, but without mDNS. Its
// active ICE-TCP is off: it dials past a simulated network, and it needs a passive side,
// which is not there by default.
package natpairs
