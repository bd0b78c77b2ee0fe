// Package machine is the contract between a protocol and whatever runs it.
//
// A machine is plain state: it has no socket, no goroutine, no lock and no
// clock. Time and bytes come in by method calls, bytes and events go out by
// polling. The same machine therefore runs over real sockets
// (internal/drive) and inside the seeded simulator (internal/simnet), and a
// failure in the second replays exactly.
//
// # How a machine is run
//
// After every call that can change a machine (HandleDatagram, HandleTimeout,
// HandleNotice, or a method of its own such as "add a remote address") the
// runner calls [Drain]: PollTransmit until it reports false, then PollEvent
// until it reports false, again if either produced something; then it asks
// NextTimeout and arms its one timer. A machine may therefore rely on being
// drained before it is entered again.
package machine
