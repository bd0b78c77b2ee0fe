package talk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pion/logging"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/punch"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/turnclient"
)

// Config says where to meet whom. Rendezvous and Room are needed.
type Config struct {
	Rendezvous string   // URL, ws:// or wss://
	Room       string   // both peers name the same one
	STUN       []string // host:port of STUN servers; none: those that the rendezvous hands out
	Proto      string   // "udp", "tcp", or "auto": UDP, then TCP if that does not get through; default "auto"
	TURN       []string // URIs of TURN servers, turn:host:port; none: those that the rendezvous hands out
	TURNUser   string   // for TURN
	TURNPass   string   // for TURN
	Policy     string   // "direct", "relay", or "auto": a relay where no direct path is found; default "auto"
	Echo       int      // messages that must come back; default 20
	Linger     time.Duration
	Timeout    time.Duration   // for the whole but Linger; default 40 s
	Ports      netio.PortRange // local ports to use; default any
	Host       Host            // where the program runs; default this machine

	Report        func(Event)                      // what happened, in order; default: dropped
	Note          func(format string, args ...any) // what is going on, for people; default: dropped
	LoggerFactory logging.LoggerFactory            // default nil: nothing is logged
}

// Host is where the program runs. What is nil is the system's; a simulated host brings
// its own.
type Host struct {
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	Listen       func(ctx context.Context, network, address string) (net.Listener, error)                          // sharing the port
	Dial         func(ctx context.Context, network string, local netip.AddrPort, address string) (net.Conn, error) // sharing the port
	Addrs        netio.AddrLister
}

// Event is one thing that happened, in the form that `peer -json` prints.
type Event struct {
	Event  string `json:"event"` // connected, echo or failed
	Path   string `json:"path,omitempty"`
	Proto  string `json:"proto,omitempty"`
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"`
	MS     *int64 `json:"ms,omitempty"` // since both members were in the room
	RTTus  *int64 `json:"rtt_us,omitempty"`
	Sent   *int   `json:"sent,omitempty"`
	Echoed *int   `json:"echoed,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// offer is what one peer tells the other by way of the rendezvous.
type offer struct {
	UDP []netip.AddrPort `json:"udp"`           // where its UDP socket may be reached
	TCP []netip.AddrPort `json:"tcp,omitempty"` // where the port may be reached that it dialled the rendezvous from
	// Blocked: no STUN server answered. Both know, so neither waits for UDP in vain.
	Blocked bool             `json:"udp_blocked,omitempty"`
	Relay   []netip.AddrPort `json:"relay,omitempty"` // its address on a TURN server
	Policy  string           `json:"policy,omitempty"`
}

func (c *Config) setDefaults() {
	if c.Echo == 0 {
		c.Echo = 20
	}
	if c.Timeout == 0 {
		c.Timeout = 40 * time.Second
	}
	if c.Proto == "" {
		c.Proto = "auto"
	}
	if c.Policy == "" {
		c.Policy = "auto"
	}
	c.Host.setDefaults()
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	if c.Note == nil {
		c.Note = func(string, ...any) {}
	}
}

// Run meets the other member of the room, connects to it, exchanges messages and
// lingers. It returns nil only if every message came back.
func Run(ctx context.Context, c Config) error {
	c.setDefaults()
	limit, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("gave up after -timeout %v", c.Timeout))
	defer cancel()
	err := c.run(ctx, limit)
	if err != nil {
		c.Report(Event{Event: "failed", Reason: err.Error()})
	}
	return err
}

func (c *Config) run(ctx, limit context.Context) error {
	id, err := ident.NewIdentity(nil)
	if err != nil {
		return err
	}
	var pc net.PacketConn
	err = c.Ports.Try(nil, func(port uint16) (err error) {
		pc, err = c.Host.ListenPacket(limit, "udp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return err
	}
	defer pc.Close()

	m, err := c.prepare(limit, pc, id)
	if err != nil {
		return err
	}
	defer m.client.Close()
	defer m.relay.close()
	c.Note("I am %s; my UDP addresses: %s; TCP: %s; relay: %s", id.ID().Short(), join(m.mine.UDP), join(m.mine.TCP), join(m.mine.Relay))
	paired, err := c.meet(limit, m, pc)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := json.Unmarshal(paired.Message, &m.theirs); err != nil {
		return fmt.Errorf("the other member of room %q speaks another protocol: %w", c.Room, err)
	}
	c.Note("the peer is %s; its UDP addresses: %s; TCP: %s; relay: %s", paired.Peer.Short(), join(m.theirs.UDP), join(m.theirs.TCP), join(m.theirs.Relay))
	if m.secret, err = ident.DeriveSecret(id, paired.Peer, "bradawl examples/peer "+c.Room); err != nil {
		return err
	}
	// Probes of one kind of path must not be taken for those of the other.
	if m.relaySecret, err = ident.DeriveSecret(id, paired.Peer, "bradawl examples/peer relay "+c.Room); err != nil {
		return err
	}
	l, e, err := c.connect(limit, m, pc)
	if err != nil {
		return err
	}
	ms := time.Since(start).Milliseconds()
	e.Event, e.MS = "connected", &ms
	c.Report(e)
	return c.converse(ctx, limit, l)
}

// meeting is what is known of both sides.
type meeting struct {
	client       *rendezvous.Client
	port         uint16 // that the rendezvous was dialled from
	mine, theirs offer
	relay        relay
	secret       []byte
	relaySecret  []byte
}

// prepare does at once what need not wait for each other: signing on, and asking what
// the socket looks like from outside.
func (c *Config) prepare(ctx context.Context, pc net.PacketConn, id *ident.Identity) (*meeting, error) {
	var (
		wg      sync.WaitGroup
		m       = new(meeting)
		dialErr error
		turnErr error
	)
	wg.Go(func() {
		m.client, dialErr = rendezvous.Dial(ctx, c.Rendezvous, rendezvous.ClientConfig{
			Identity: id,
			// The port's NAT mapping, which the rendezvous sees, is the one that the
			// peer will be told of.
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				var failed error
				err = c.Ports.Try(nil, func(port uint16) error {
					conn, failed = c.Host.Dial(ctx, network, netip.AddrPortFrom(netip.IPv4Unspecified(), port), address)
					if bindFailed(failed) {
						return failed
					}
					return nil // another port would change nothing
				})
				if err == nil {
					err = failed
				}
				if err == nil {
					m.port = netio.AddrPortOf(conn.LocalAddr()).Port()
				}
				return conn, err
			},
		})
	})
	if len(c.TURN) > 0 {
		wg.Go(func() {
			m.relay, turnErr = c.allocate(ctx, c.TURN, turnclient.Credentials{Username: c.TURNUser, Password: c.TURNPass})
		})
	}
	mine, err := c.gather(ctx, pc)
	wg.Wait()
	// What has been opened is closed again if anything fails.
	done := false
	defer func() {
		if !done {
			if m.client != nil {
				m.client.Close()
			}
			m.relay.close()
		}
	}()
	if dialErr != nil {
		return nil, dialErr
	}
	if err == nil && len(c.STUN) == 0 {
		if c.STUN = stunServers(m.client.ICEServers()); len(c.STUN) > 0 {
			mine, err = c.gather(ctx, pc)
		}
	}
	if len(c.TURN) == 0 {
		servers, cred := turnServers(m.client.ICEServers())
		m.relay, turnErr = c.allocate(ctx, servers, cred)
	}
	if err = errors.Join(err, turnErr); err != nil {
		return nil, err
	}
	done = true
	m.mine = mine
	m.mine.TCP, m.mine.Relay, m.mine.Policy = c.tcpAddrs(m), m.relay.addrs(), c.Policy
	return m, nil
}

// stunServers picks the STUN servers that are reached by UDP (RFC 7064).
func stunServers(all []rendezvous.ICEServer) (names []string) {
	for _, s := range all {
		for _, uri := range s.URIs {
			if name, ok := strings.CutPrefix(uri, "stun:"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// tcpAddrs lists the addresses that the TCP port may be reached at.
func (c *Config) tcpAddrs(m *meeting) (addrs []netip.AddrPort) {
	host, err := netio.HostAddrs(c.Host.Addrs)
	if err != nil || m.port == 0 {
		return nil
	}
	for _, h := range host {
		addrs = append(addrs, netip.AddrPortFrom(h.Addr, m.port))
	}
	if a := m.client.PublicAddr(); a.IsValid() && !contains(addrs, a) {
		addrs = append(addrs, a)
	}
	return addrs
}

// udpShare is how long "auto" tries UDP before it turns to TCP, and tcpShare how long it
// tries that before it turns to a relay, if there is one.
const udpShare, tcpShare = 5 * time.Second, 5 * time.Second

// connect opens a path, a direct one first.
func (c *Config) connect(ctx context.Context, m *meeting, pc net.PacketConn) (link, Event, error) {
	direct, relayed, err := c.plan(m)
	if err != nil {
		return nil, Event{}, err
	}
	var failed error
	if direct {
		l, e, err := c.punch(ctx, m, pc, relayed)
		if err == nil || !relayed || ctx.Err() != nil {
			e.Path = "direct"
			return l, e, err
		}
		c.Note("%v; now the relay", err)
		failed = err
	}
	l, e, err := c.throughRelay(ctx, m, pc)
	if err != nil {
		return nil, Event{}, errors.Join(failed, err)
	}
	return l, e, nil
}

// punch opens a direct path. It keeps to its share of the time where a relay comes next.
func (c *Config) punch(ctx context.Context, m *meeting, pc net.PacketConn, relayed bool) (link, Event, error) {
	var failed error
	if blocked := m.mine.Blocked || m.theirs.Blocked; c.Proto == "udp" || c.Proto == "auto" && !blocked {
		timeout := time.Duration(-1)
		if c.Proto == "auto" || relayed {
			timeout = udpShare
		}
		path, err := punch.UDP(ctx, pc, punch.UDPConfig{
			Peer: m.theirs.UDP, Secret: m.secret, Timeout: timeout, Loopback: c.atHome(), LoggerFactory: c.LoggerFactory,
		})
		if err == nil {
			c.Note("direct UDP path to %s, round trip %v", path.Remote, path.RTT.Round(time.Microsecond))
			l, err := newUDPLink(pc, path)
			return l, Event{Proto: "udp", Local: path.Local.String(), Remote: path.Remote.String()}, err
		}
		if c.Proto == "udp" || ctx.Err() != nil {
			return nil, Event{}, err
		}
		c.Note("%v; now TCP", err)
		failed = err
	}
	timeout := time.Duration(-1)
	if relayed {
		timeout = tcpShare
	}
	conn, err := punch.TCP(ctx, punch.TCPConfig{
		Local: netip.AddrPortFrom(netip.IPv4Unspecified(), m.port), Peer: m.theirs.TCP, Secret: m.secret, Timeout: timeout,
		Loopback: c.atHome(), Listen: c.Host.Listen, Dial: c.Host.Dial, LoggerFactory: c.LoggerFactory,
	})
	if err != nil {
		return nil, Event{}, errors.Join(failed, err)
	}
	c.Note("direct TCP connection to %s", conn.RemoteAddr())
	return newTCPLink(conn), Event{Proto: "tcp", Local: conn.LocalAddr().String(), Remote: conn.RemoteAddr().String()}, nil
}

// stunShare is how long STUN servers may take before UDP counts as blocked.
const stunShare = 3 * time.Second

// gather lists the addresses that pc may be reached at.
func (c *Config) gather(ctx context.Context, pc net.PacketConn) (o offer, err error) {
	host, err := netio.HostAddrs(c.Host.Addrs)
	if err != nil {
		return o, err
	}
	local := netio.AddrPortOf(pc.LocalAddr())
	for _, h := range host {
		o.UDP = append(o.UDP, netip.AddrPortFrom(h.Addr, local.Port()))
	}
	if c.atHome() {
		o.UDP = append(o.UDP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), local.Port()))
	}
	if len(c.STUN) == 0 {
		return o, nil
	}
	servers, err := natprobe.ResolveServers(ctx, "ip", c.STUN...)
	if len(servers) == 0 {
		return o, err
	}
	answers, err := natprobe.MappedAddresses(ctx, pc, servers, &natprobe.ReflexiveConfig{Timeout: stunShare, LoggerFactory: c.LoggerFactory})
	if err != nil {
		o.Blocked = true
		c.Note("no outside address known: %v", err) // what is left may still do, and so may TCP
	}
	if natprobe.EndpointDependent(answers) {
		c.Note("my NAT maps by destination (symmetric): only a peer that anyone can send to, or whose NAT filters by address, can be reached directly so far")
	}
	for _, a := range answers {
		if a.Err == nil && !contains(o.UDP, a.Addr) {
			o.UDP = append(o.UDP, a.Addr)
		}
	}
	return o, nil
}

// refresh is how often the outside address is asked for while nobody comes: often
// enough to keep a NAT's mapping, of which the shortest last 30 s.
const refresh = 15 * time.Second

// meet waits in the room for the other member.
func (c *Config) meet(ctx context.Context, m *meeting, pc net.PacketConn) (rendezvous.Paired, error) {
	message := func() []byte {
		b, _ := json.Marshal(m.mine) // addresses always marshal
		return b
	}
	if err := m.client.Join(ctx, c.Room, message()); err != nil {
		return rendezvous.Paired{}, err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, refresh)
		e, err := m.client.Recv(wait)
		again := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case again:
			var mine offer
			if mine, err = c.gather(ctx, pc); err == nil {
				m.mine.UDP, m.mine.Blocked = mine.UDP, mine.Blocked
				err = m.client.Update(ctx, c.Room, message())
			}
		case err != nil && ctx.Err() != nil:
			err = fmt.Errorf("nobody else came to room %q: %w", c.Room, context.Cause(ctx))
		}
		if err != nil {
			return rendezvous.Paired{}, err
		}
		switch e := e.(type) {
		case rendezvous.Paired:
			return e, nil
		case *rendezvous.Error:
			return rendezvous.Paired{}, e
		}
	}
}

// atHome reports whether the rendezvous is on this machine, so that the peer may be.
func (c *Config) atHome() bool {
	u, err := url.Parse(c.Rendezvous)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

func contains(addrs []netip.AddrPort, a netip.AddrPort) bool {
	for _, b := range addrs {
		if a == b {
			return true
		}
	}
	return false
}

func join(addrs []netip.AddrPort) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

var errNotEchoed = errors.New("not every message came back")
