// Package stats is about what became of attempts to connect: how often they succeed,
// by which way, how fast, and why not.
//
// An [Event] is the outcome of one stage of one session, as the side that went through
// it saw it. It is a plain value with a fixed form in JSON, which clients write and
// whoever collects them reads and checks: nothing in it is taken on trust, and nothing
// in it says who the peers are or where. Sessions and events have random IDs, made by
// the client ([NewID]).
//
// A session of package bradawl makes them (its Config.Record): of each connection there is
// at most one event for each stage, but for the upgrade, which may succeed after it was
// recorded as failed. A path that is lost and found again is no stage.
package stats
