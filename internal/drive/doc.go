// Package drive runs a machine (package machine) over datagram sockets and
// streams: it is the one event loop of the module.
//
// [Run] starts one goroutine that owns the machine, and one reader goroutine
// for each socket and each stream; a dial has one while it lasts, a stream's
// writer while something waits to be written. Whatever enters the machine (a datagram, a timeout, a
// notice, a function given to [Loop.Do] or [Loop.Post]) does so on the loop
// goroutine and is followed by [machine.Drain], so that callers cannot forget
// it. The loop has one timer, set to the machine's next deadline.
//
// In steady state nothing is allocated for a datagram, in or out. The loop
// blocks only on channels, timers and, for a moment, sockets that cannot be told
// not to (package netio); over in-memory sockets it therefore runs inside
// testing/synctest.
package drive
