// Package machine is the contract between a protocol and whatever runs it.
//
// A machine is plain state: it has no socket, no goroutine, no lock and no
// clock. Time and bytes come in by method calls, bytes and events go out by
// polling. The same machine therefore runs over real sockets
// (internal/drive) and inside the seeded simulator (internal/simnet), and a
// failure in the second replays exactly.
//
// What follows is what a machine may rely on. A suite in internal/drive holds
// both runners to it.
//
// # How a machine is run
//
// After every call that can change a machine (HandleDatagram, HandleTimeout,
// HandleNotice, or a method of its own such as "add a remote address") the
// runner calls [Serve]: PollTransmit until it reports false, then PollEvent
// until it reports false, again if either produced something; then it asks
// NextTimeout and arms its one timer. A machine may therefore rely on being
// drained before it is entered again, and is never entered while it is drained:
// what comes of an effect, even one that fails at once, is told afterwards.
//
// Events are handed on one by one, in order, each with the machine drained.
// Whoever gets one may enter the machine, which is drained again then.
//
// HandleTimeout must move a deadline that is due, or remove it.
//
// # Datagram sockets
//
// The sockets that the runner was started with are open from the beginning, and
// no notice says so. For each OpenSocket exactly one SocketOpened or
// SocketFailed follows, never at once; notices come in the order of the
// effects. Only a socket that was told open sends and receives. A number that
// is in use, or being opened, cannot be opened: SocketFailed, and what has the
// number is not touched.
//
// After CloseSocket nothing more is told of the socket, neither a datagram that
// had arrived already nor what became of opening it, and the number is free.
// SocketFailed of a socket that was open says that it broke and receives nothing
// more; CloseSocket frees the number.
//
// A datagram that cannot be sent (no such socket, no route, no room in the
// socket's buffer) is lost without notice. So is one that arrives and is longer
// than [MaxDatagram].
//
// An answer should leave from the address that was asked: Transmit.Local of the
// answer is Datagram.Local of the question. Only a socket that is bound to the
// unspecified address needs it, any other has one address; the port is always
// the socket's. A Local that is unspecified, of the other family or a multicast
// address leaves the choice to the system, and so does a system that cannot
// choose.
//
// ICMP is told as Unreachable, as far as the system tells it. It is a hint:
// anybody can forge it who can guess two addresses and ports.
//
// # Streams
//
// For each Dial exactly one Connected or Closed follows, never at once, unless
// the machine closes or resets the stream before. A number that is in use
// cannot be dialled: Closed, and what has the number is not touched. A stream
// that comes in is numbered from [AcceptedBase] up, and told by Accepted before
// anything else; no such number is used twice.
//
// What is written arrives in order; what is written before Connected leaves
// after it. What arrives is told by Received, cut anywhere, unless the runner
// frames messages. At most [StreamQueue] bytes, and what the system takes
// besides, wait to be sent: with more the stream is reset, and Closed tells of
// an *[OverflowError].
//
// Closed is the last notice of a stream. With an Err that is not nil the stream
// has failed, and the number is free. With a nil Err the other side has ended it
// in order: the machine can still write, and Close or Reset it, while it is
// drained after the notice; then the runner does as for Close.
//
// After Close and Reset nothing more is told of the stream, and the number is
// free. Close sends what was written first, as long as the other side takes it
// within a few seconds; Reset drops it, and the other side learns of that where
// the transport can tell. Close of a stream that is not connected is Reset.
//
// Effects on a socket or stream that is not there do nothing: it may just have
// gone.
//
// When the runner is closed, nothing more is sent, sockets that it does not keep
// are closed, and streams are reset, except those that Close was asked for.
package machine
