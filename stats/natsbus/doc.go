// Package natsbus counts the events of a fleet: programs anywhere publish what became of
// their connections to NATS JetStream, and aggregators count it into windows that anybody
// can read as one.
//
// # Who does what
//
// A [Publisher] takes events, as a session's Config.Record does, without ever blocking. It
// puts each into one of several shards of a stream, by a hash of its session.
//
// An [Aggregator] counts one shard by a stats.Recorder. Every few seconds it stores the
// recorder's whole state together with the number of the last message in it. After a crash
// the next one loads that and goes on with the message after, so that each event counts
// exactly once. Run as many as there are shards, in one process or in many; of two for one
// shard, the one that stores its state first goes on, and the other ends with ErrReplaced:
// whatever restarts programs should watch over one for each shard.
//
// [Read] loads what the aggregators have stored and adds it up.
//
// # What may get lost
//
// A publisher keeps a bounded number of events. When NATS is away for longer than that
// lasts, those that arrive are dropped and counted ([PublisherStats]). What NATS has taken is
// there until the stream's MaxAge, on as many servers as Config.Replicas says; a publisher
// that does not know whether NATS has taken an event repeats it under the same ID, and both
// the stream and the recorder count an ID once. An event that comes later than the
// recorder's Lateness counts as late, in the ledger alone. Set sync_interval: always in the
// servers' configuration where events must outlast the power of all of them.
//
// # Why no acknowledgements
//
// The aggregators read by ordered consumers and acknowledge nothing. A durable consumer
// delivers again what was lost on the way, but after younger messages, so that "everything
// up to this number" would say too much; the number stored with the state says just that.
package natsbus
