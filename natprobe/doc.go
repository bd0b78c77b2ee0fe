// Package natprobe finds out what NAT a program sits behind.
//
// [MappedAddresses] asks STUN servers where they see one socket come from: its
// server-reflexive addresses. That is what a peer must be told to reach the
// socket, and asking several servers at once also shows whether the NAT gives
// the socket one address for all destinations ([EndpointDependent]).
//
// STUN answers are not authenticated. They are taken only from the server asked
// and with the transaction ID sent, so that an outsider who does not see the
// traffic cannot forge them; the server itself, and whoever is on the path, can.
//
// The protocol is a state machine without sockets or clock ([Reflexive]);
// MappedAddresses runs it over a net.PacketConn.
package natprobe
