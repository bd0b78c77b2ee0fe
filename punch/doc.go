// Package punch opens direct paths between two peers that sit behind NATs.
//
// Both peers call [UDP] at about the same time, each with an open socket, the
// addresses that the other can perhaps be reached at, and a secret that both know;
// how these get across is the signaller's affair (punch/rendezvous is one). Each
// probe that leaves opens the sender's NAT for the other side's probes, so that
// after one round trip something gets through wherever one of the two NATs gives
// the socket one outside port that the other side knows, or can learn from the
// probes that reach it.
//
//	path, err := punch.UDP(ctx, conn, punch.UDPConfig{Peer: addrs, Secret: secret})
//
// A peer that was done first may have sent already: what came of it is in [Path].Early, and
// is not read from conn again.
//
// Probes are STUN Binding requests (RFC 8489) with MESSAGE-INTEGRITY: nobody
// without the secret can make a path or be made to answer.
//
// [TCP] does the same for TCP: both peers listen at one port and dial from it, at the
// same time (simultaneous open), again and again until one connection stands, and keep
// the same one. The port must be the one that the rendezvous was dialled from, which
// [ReusePort] makes possible.
//
// [Lanes] goes on where this does not suffice, because a NAT gives a socket another outside
// port for each remote: it foretells the port where the NAT's ports are a sequence, leads two
// sequences past each other, and has many mappings of one side meet many tries of the other
// (a birthday) where they are random, all under one [Budget]. Where UDP is blocked, it foretells
// the port of a TCP connection ([LaneTCPPredicted]). It runs beside checks, such as an ICE agent's,
// and chooses no path. A bradawl.Session runs it: as a machine without sockets, goroutines and
// clock, it takes and gives types of this module's event loop.
//
// [Plan] says what there is to try between two NATs, of which natprobe tells: each kind of
// lane with its chance and what it costs this side within a [Budget], or why it is ruled
// out. [Between] says what keeps the two from reaching each other by plain checks, [Possible]
// whether anything helps, and [Because] why nothing does. [Order] takes into account what worked
// before between the same networks, as a [Memory] has it. [BirthdaySize] and [BirthdayChance] are
// the arithmetic of many against many; the next port of a NAT is for natprobe.Ports.Predict to say.
//
// [Pinger] measures a path by probes of 8 bytes.
package punch
