// Package stunserver is a STUN server that anyone can run: Binding requests of
// RFC 8489 (and RFC 5389; behind an option RFC 3489), and, with two addresses,
// the CHANGE-REQUEST and OTHER-ADDRESS of RFC 5780 that NAT behaviour discovery
// needs.
//
// [Listen] runs it on UDP and TCP sockets. It keeps nothing about clients over UDP
// but the rate at which it answers them, in a fixed amount of memory, and a bounded
// number of TCP streams.
//
// It does not amplify much: over IPv4 an answer takes at most twice as many
// bytes as its request (2.5 times over IPv6), counted with IP and UDP headers,
// and each source address gets only so many answers a second. Indications,
// responses and whatever is not STUN are never answered.
package stunserver
