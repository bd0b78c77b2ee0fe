// Package stund is the STUN server as plain state: the machine that
// natprobe/stunserver runs over sockets and the simulator on its hosts. For tests of
// clients it can be given faults.
package stund
