package rendezvous

import "net/netip"

// served is one connection of a Server.
type served struct {
	*wsConn
	remote netip.AddrPort
	source netip.Prefix // as the limits per address count

	// Owned by the loop.
	shutting bool // closing.shut was called
	counted  bool // among those that are closing
}

// closing counts the connections that are being closed. The machine has forgotten
// them, but until the other side has taken in why, which may take it closeGrace,
// each holds memory and goroutines. So there are no more of them than there may
// be clients: whoever goes on connecting is cut off.
type closing struct {
	max, maxPerSource int
	all               int
	bySource          map[netip.Prefix]int
}

func newClosing(cfg ServerConfig) closing {
	return closing{max: cfg.MaxClients, maxPerSource: cfg.MaxClientsPerAddress, bySource: make(map[netip.Prefix]int)}
}

// shut closes c, as wsConn.shut does if there may be one more.
func (l *closing) shut(c *served, why *CloseError, drop bool) {
	if c.shutting {
		return
	}
	c.shutting = true
	if l.all >= l.max || l.bySource[c.source] >= l.maxPerSource {
		c.cut()
		return
	}
	c.counted = true
	l.all++
	l.bySource[c.source]++
	c.wsConn.shut(why, drop)
}

// ended says that c has ended.
func (l *closing) ended(c *served) {
	if !c.counted {
		return
	}
	c.counted = false
	l.all--
	if l.bySource[c.source]--; l.bySource[c.source] == 0 {
		delete(l.bySource, c.source)
	}
}
