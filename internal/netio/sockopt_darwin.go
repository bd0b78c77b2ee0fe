package netio

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// addSource4 adds the source as struct in_pktinfo: its second field.
func (s *sender) addSource4(source netip.Addr) {
	var info [unix.SizeofInet4Pktinfo]byte
	*(*[4]byte)(info[4:]) = source.As4()
	s.add(unix.IPPROTO_IP, unix.IP_PKTINFO, info[:])
}
