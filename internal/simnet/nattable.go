package simnet

import (
	"net/netip"
	"time"
)

// room makes room for one more entry in the table, if it can.
func (t *translator) room(now time.Time) bool {
	if len(t.byInside)+len(t.strays) < t.Table {
		return true
	}
	// A NAT whose table is kept full must not look through it for each packet.
	if now.Before(t.sweepAt) {
		return false
	}
	t.purge(now)
	return len(t.byInside)+len(t.strays) < t.Table
}

// purge drops what has expired. Its order must not show, so it tells nobody.
func (t *translator) purge(now time.Time) {
	t.sweepAt = now.Add(time.Second)
	t.drop(now, func(m *mapping) bool { return t.expired(now, m) })
	for k, at := range t.strays {
		if now.Sub(at) >= t.IdleUnreplied {
			delete(t.strays, k)
		}
	}
}

// drop takes out the mappings that which holds for.
func (t *translator) drop(now time.Time, which func(*mapping) bool) {
	quiet := t.onChange
	t.onChange = func(time.Time, *mapping, string) {}
	for _, m := range t.byInside {
		if which(m) {
			t.remove(now, m, "")
		}
	}
	t.onChange = quiet
}

// live counts the mappings that have not expired.
func (t *translator) live(now time.Time) (n int) {
	for _, m := range t.byInside {
		if !t.expired(now, m) {
			n++
		}
	}
	return n + t.statics.live(now)
}

// poison remembers a datagram that was not let in.
func (t *translator) poison(now time.Time, p *Packet) {
	if !t.Poison || t.Firewall || p.Proto != UDP {
		return
	}
	k := portKey{p.Proto, p.Dst, p.Src}
	if _, known := t.strays[k]; known || t.room(now) {
		t.strays[k] = now
	}
}

func (t *translator) poisoned(now time.Time, proto Proto, outside, remote netip.AddrPort) bool {
	at, ok := t.strays[portKey{proto, outside, remote}]
	return ok && now.Sub(at) < t.IdleUnreplied
}

// readdress gives the NAT other outside addresses. Mappings of those it keeps live on.
func (t *translator) readdress(now time.Time, outside []netip.Addr) {
	t.outside = outside
	kept := make(map[netip.Addr]bool, len(outside))
	for _, a := range outside {
		kept[a] = true
	}
	t.drop(now, func(m *mapping) bool { return !kept[m.outside.Addr()] })
	t.statics.keep(func(m *mapping) bool { return kept[m.outside.Addr()] })
	for inside, a := range t.pooled {
		if !kept[a] {
			delete(t.pooled, inside)
		}
	}
}
