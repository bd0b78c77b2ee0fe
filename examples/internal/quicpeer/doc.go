// Package quicpeer makes byte streams of connections between peers, by QUIC (quic-go): [Dial]
// returns a net.Conn and [Listen] a net.Listener, which is what gRPC, HTTP and most other
// protocols want. [Config], [ServerTLS], [ClientTLS] and [PacketConn] are for those who use
// QUIC itself.
package quicpeer
