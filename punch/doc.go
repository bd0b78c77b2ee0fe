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
// Probes are STUN Binding requests (RFC 8489) with MESSAGE-INTEGRITY: nobody
// without the secret can make a path or be made to answer.
//
// [UDPMachine] is the same without socket and clock, for those who run a loop of
// their own.
package punch
