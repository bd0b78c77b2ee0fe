//go:build dragonfly || freebsd || netbsd || openbsd

package netio

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// addSource4 adds the source. IP_SENDSRCADDR, which sets it, has the number of
// IP_RECVDSTADDR, which tells it, on all of these systems.
func (s *sender) addSource4(source netip.Addr) {
	a := source.As4()
	s.add(unix.IPPROTO_IP, unix.IP_RECVDSTADDR, a[:])
}
