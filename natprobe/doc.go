// Package natprobe finds out what NAT a program sits behind.
//
// [Discover] is the detective: by asking STUN servers from several sockets at once it
// tells, in about a quarter of a second, how the NAT maps and filters (RFC 4787), how it
// chooses ports, whether hosts behind it reach each other by their outside addresses, and
// what all that means; [Config] adds TCP, and how long mappings live. Every statement of
// the [Report] carries how sure it is and what was observed, and what cannot be told is
// told to be unknown. [Profile] is the part of it that peers exchange. A [Prober] runs
// discoveries repeatedly.
//
// At least one server must support RFC 5780, which takes two addresses, for filtering to be
// told; package stunserver has one. Any others give the mapping alone.
//
// [MappedAddresses] only asks servers where they see one socket come from: its
// server-reflexive addresses. That is what a peer must be told to reach the socket, and
// asking several servers at once also shows whether the NAT gives the socket one address
// for all destinations ([EndpointDependent]).
//
// STUN answers are not authenticated. They are taken only from the server asked
// and with the transaction ID sent, so that an outsider who does not see the
// traffic cannot forge them; the server itself, and whoever is on the path, can.
//
// The protocols are state machines without sockets or clock, which Discover and
// MappedAddresses run over sockets. [Discovery], [TCPProbe] and [Reflexive] are public for
// this module's other packages alone, which run them beside machines of their own: what goes
// in and out is of types that no other module can name.
package natprobe
