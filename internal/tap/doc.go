// Package tap stands between sockets and the event loop: what a session or an agent
// takes as its peer's data never gets to the loop, in either direction.
package tap
