// Package netio is what the module knows of real sockets: datagram sockets
// that tell more than net.PacketConn does (receive TTL, kernel timestamps, the
// address a datagram was sent to, ICMP errors) and that can send with a hop
// limit or the don't-fragment bit; shared ports, several readers on one, ranges of
// ports; the host's addresses.
//
// [Wrap] takes any net.PacketConn and finds out what it can do. A *net.UDPConn
// gets everything that the system offers, without allocation either way; any
// other socket can offer more than net.PacketConn by implementing the
// interfaces [MetaReader], [OptionWriter], [AddrPortReader] and
// [AddrPortWriter], and works without them too.
package netio
