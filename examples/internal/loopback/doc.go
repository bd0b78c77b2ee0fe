// Package loopback is two sessions and their rendezvous in one program, on this machine's
// loopback addresses, for programs that show what can be done with a connection.
package loopback
