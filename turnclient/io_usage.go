package turnclient

import "net/netip"

// usage answers what the machine asks of the paths, on the loop.
type usage struct{ c *Client }

func (u usage) path(id AllocationID) *path {
	if a := u.c.allocs[id]; a != nil {
		return &a.path
	}
	return nil
}

func (u usage) Heard(id AllocationID) bool {
	p := u.path(id)
	return p != nil && p.heard.Swap(false)
}

func (u usage) Sent(id AllocationID) bool {
	p := u.path(id)
	return p != nil && p.sent.Swap(false)
}

func (u usage) Wrote(id AllocationID) bool {
	p := u.path(id)
	return p != nil && p.wrote.Swap(false)
}

func (u usage) Permission(id AllocationID, ip netip.Addr) bool {
	p := u.path(id)
	return p != nil && p.usedPermission(ip)
}

func (u usage) Channel(id AllocationID, peer netip.AddrPort) bool {
	p := u.path(id)
	return p != nil && p.usedChannel(peer)
}

func (u usage) Disarm(id AllocationID) {
	if p := u.path(id); p != nil {
		p.armed.Store(false)
	}
}
