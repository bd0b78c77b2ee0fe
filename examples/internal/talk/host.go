package talk

import (
	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/internal/netio"
)

func (h *Host) setDefaults(atHome bool) {
	if h.ListenPacket == nil {
		h.ListenPacket = netio.ListenUDP
	}
	if h.Listen == nil {
		h.Listen = netio.ListenTCP
	}
	if h.Dial == nil {
		h.Dial = netio.DialTCP
	}
	if h.Addrs == nil {
		h.Addrs = func() ([]ice.HostAddr, error) { return ice.SystemAddrs(atHome) }
	}
}
