package netio

import (
	"golang.org/x/sys/unix"
)

const errAddrInUse = unix.EADDRINUSE

// transientErrnos are errors about one datagram.
var transientErrnos = []error{
	unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EPROTO, unix.ENOPROTOOPT,
	unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM, unix.EACCES, unix.EPERM, unix.EINTR,
}

func reusePort(fd uintptr) error {
	if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// The options of a wrapped socket. An IPv6 socket can carry IPv4 too, so that
// it gets both families' and each may fail.
var receiveOptions = []struct{ level, option int }{
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS},
	{unix.IPPROTO_IP, unix.IP_RECVTTL},
	{unix.IPPROTO_IP, unix.IP_PKTINFO},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO},
}

func setReceiveOptions(fd int) {
	for _, o := range receiveOptions {
		_ = unix.SetsockoptInt(fd, o.level, o.option, 1)
	}
}

// setErrorQueue switches the reporting of ICMP errors. They are also pending on
// the socket itself then, so that the next call on it, whichever it is, fails
// with them once.
func setErrorQueue(fd, on int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, on)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, on)
	if on == 0 {
		_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) // takes what is pending
	}
}

// setSendOptions sets on the socket what o cannot have in ancillary data, and
// returns what undoes it; nil: nothing.
func setSendOptions(fd uintptr, v6 bool, o SendOptions) (undo func(fd uintptr)) {
	if v6 || !o.DontFragment {
		return nil
	}
	old, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
	if err != nil || unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE) != nil {
		return nil
	}
	return func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, old)
	}
}
