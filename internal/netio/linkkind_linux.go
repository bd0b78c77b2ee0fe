package netio

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// netlinkKinds returns what made each interface (IFLA_INFO_KIND), which tells a tunnel from
// other software where sysfs does not. Empty where the kernel does not answer, as
// on Android.
func netlinkKinds() map[string]string {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return nil
	}
	return linkKinds(rib)
}

func linkKinds(rib []byte) map[string]string {
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil
	}
	kinds := make(map[string]string)
	for i := range messages {
		if messages[i].Header.Type != unix.RTM_NEWLINK || len(messages[i].Data) < unix.SizeofIfInfomsg {
			continue
		}
		attrs := messages[i].Data[unix.SizeofIfInfomsg:]
		name := attribute(attrs, unix.IFLA_IFNAME)
		kind := attribute(attribute(attrs, unix.IFLA_LINKINFO), unix.IFLA_INFO_KIND)
		if len(name) > 0 && len(kind) > 0 {
			kinds[unix.ByteSliceToString(name)] = unix.ByteSliceToString(kind)
		}
	}
	return kinds
}

// attribute returns the value of the first attribute of a type; nil: there is none.
func attribute(attrs []byte, want uint16) []byte {
	const header, mask = unix.SizeofRtAttr, 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	for len(attrs) >= header {
		length := int(binary.NativeEndian.Uint16(attrs))
		if length < header || length > len(attrs) {
			return nil
		}
		if binary.NativeEndian.Uint16(attrs[2:])&mask == want {
			return attrs[header:length]
		}
		attrs = attrs[min((length+3)&^3, len(attrs)):]
	}
	return nil
}
