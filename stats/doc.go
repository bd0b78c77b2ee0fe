// Package stats is about what became of attempts to connect: how often they succeeded,
// by which way, how fast, and why not.
//
// # Events
//
// An [Event] is the outcome of one stage of one session, as the side that went through
// it saw it. It is a plain value with a fixed form in JSON, which clients write and
// whoever collects them reads and checks, and a compact one in binary: nothing in it is
// taken on trust, and nothing in it says who the peers are or where. Sessions and events
// have random IDs, made by the client ([NewID]).
//
// A session of package bradawl makes them (its Config.Record): of each connection there is
// at most one event for each stage, but for the upgrade, which may succeed after it was
// recorded as failed. A path that is lost and found again is no stage.
//
// # Counting
//
// A [Recorder] counts events, for one program or for a fleet. Its Record fits as a session's
// Config.Record. It keeps no events but counts them in cells, by what they have in common
// ([Key]) and by lane and reason ([Way]), in panes of 30 seconds by the time at which they
// happened. A window is the last ten panes and hops with them; events that come up to two
// minutes late still count where they belong. Each event counts once, by its ID. Memory is
// bounded whatever arrives, and a [Ledger] accounts for what was not counted, to the last
// event.
//
// A [Snapshot] is what was counted in a window, in some panes, or since the beginning;
// snapshots of several recorders add up. It sums up by any dimensions ([Snapshot.By]) and
// tells what became of sessions ([Snapshot.Outcomes], [Snapshot.Table]).
//
// # What the figures mean
//
// A session is an attempt if it came to its first check and was not cancelled; a peer that
// is offline says nothing about NATs. Direct, relayed and failed attempts add up to all. A
// session that began on a relay and was upgraded is direct. Shares carry Wilson's interval
// ([Rate]), and fewer than 30 attempts are marked as few. Means are of those that succeeded,
// and exact; quantiles are within 1 %, and of all attempts, so that those that failed count
// as longer than any ([Tally.Quantile]).
//
// # Experiments
//
// An [Experiment] compares ways of doing something. [Assigner] says at both ends which way
// a session goes and whether it counts, which its events show by their group; [Experiment.Judge]
// says of what was counted by groups whether one way is better, however often it is asked. An
// Assigner fits into a session's Config.TreatPeer by a few lines, which docs/fleet.md has.
package stats
