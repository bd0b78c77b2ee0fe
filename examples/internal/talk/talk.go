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
)

// Config says where to meet whom. Rendezvous and Room are needed.
type Config struct {
	Rendezvous string   // URL, ws:// or wss://
	Room       string   // both peers name the same one
	STUN       []string // host:port of STUN servers; none: only addresses of the host itself are offered
	Echo       int      // messages that must come back; default 20
	Linger     time.Duration
	Timeout    time.Duration // for the whole but Linger; default 40 s

	// ListenPacket and DialContext open sockets, and Addrs lists the host's
	// addresses; nil: the system's. A simulated host brings its own.
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext  func(ctx context.Context, network, address string) (net.Conn, error)
	Addrs        netio.AddrLister

	Report        func(Event)                      // what happened, in order; default: dropped
	Note          func(format string, args ...any) // what is going on, for people; default: dropped
	LoggerFactory logging.LoggerFactory            // default nil: nothing is logged
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
	UDP []netip.AddrPort `json:"udp"` // where its UDP socket may be reached
}

func (c *Config) setDefaults() {
	if c.Echo == 0 {
		c.Echo = 20
	}
	if c.Timeout == 0 {
		c.Timeout = 40 * time.Second
	}
	if c.ListenPacket == nil {
		c.ListenPacket = netio.ListenUDP
	}
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
	pc, err := c.ListenPacket(limit, "udp", ":0")
	if err != nil {
		return err
	}
	defer pc.Close()

	client, addrs, err := c.prepare(limit, pc, id)
	if err != nil {
		return err
	}
	defer client.Close()
	c.Note("I am %s; my UDP addresses: %s", id.ID().Short(), join(addrs))
	paired, err := c.meet(limit, client, pc, addrs)
	if err != nil {
		return err
	}
	start := time.Now()

	var theirs offer
	if err := json.Unmarshal(paired.Message, &theirs); err != nil {
		return fmt.Errorf("the other member of room %q speaks another protocol: %w", c.Room, err)
	}
	c.Note("the peer is %s; its UDP addresses: %s", paired.Peer.Short(), join(theirs.UDP))
	secret, err := ident.DeriveSecret(id, paired.Peer, "bradawl examples/peer "+c.Room)
	if err != nil {
		return err
	}
	path, err := punch.UDP(limit, pc, punch.UDPConfig{
		Peer: theirs.UDP, Secret: secret, Timeout: -1, Loopback: c.atHome(), LoggerFactory: c.LoggerFactory,
	})
	if err != nil {
		return err
	}
	ms := time.Since(start).Milliseconds()
	c.Note("direct UDP path to %s, round trip %v", path.Remote, path.RTT.Round(time.Microsecond))
	c.Report(Event{Event: "connected", Path: "direct", Proto: "udp", Local: path.Local.String(), Remote: path.Remote.String(), MS: &ms})
	return c.converse(ctx, limit, newUDPLink(pc, path))
}

// prepare does at once what need not wait for each other: signing on, and asking what
// the socket looks like from outside.
func (c *Config) prepare(ctx context.Context, pc net.PacketConn, id *ident.Identity) (*rendezvous.Client, []netip.AddrPort, error) {
	var (
		wg      sync.WaitGroup
		client  *rendezvous.Client
		dialErr error
	)
	wg.Go(func() {
		client, dialErr = rendezvous.Dial(ctx, c.Rendezvous, rendezvous.ClientConfig{Identity: id, DialContext: c.DialContext})
	})
	addrs, err := c.gather(ctx, pc)
	wg.Wait()
	if dialErr != nil {
		return nil, nil, dialErr
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, addrs, nil
}

// gather lists the addresses that pc may be reached at.
func (c *Config) gather(ctx context.Context, pc net.PacketConn) ([]netip.AddrPort, error) {
	host, err := netio.HostAddrs(c.Addrs)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	local := netio.AddrPortOf(pc.LocalAddr())
	for _, h := range host {
		addrs = append(addrs, netip.AddrPortFrom(h.Addr, local.Port()))
	}
	if c.atHome() {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), local.Port()))
	}
	if len(c.STUN) == 0 {
		return addrs, nil
	}
	servers, err := natprobe.ResolveServers(ctx, "ip", c.STUN...)
	if len(servers) == 0 {
		return nil, err
	}
	answers, err := natprobe.MappedAddresses(ctx, pc, servers, &natprobe.ReflexiveConfig{Timeout: 5 * time.Second, LoggerFactory: c.LoggerFactory})
	if err != nil {
		c.Note("no outside address known: %v", err) // what is left may still do
	}
	if natprobe.EndpointDependent(answers) {
		c.Note("my NAT maps by destination (symmetric): only a peer that anyone can send to, or whose NAT filters by address, can be reached directly so far")
	}
	for _, a := range answers {
		if a.Err == nil && !contains(addrs, a.Addr) {
			addrs = append(addrs, a.Addr)
		}
	}
	return addrs, nil
}

// refresh is how often the outside address is asked for while nobody comes: often
// enough to keep a NAT's mapping, of which the shortest last 30 s.
const refresh = 15 * time.Second

// meet waits in the room for the other member.
func (c *Config) meet(ctx context.Context, client *rendezvous.Client, pc net.PacketConn, addrs []netip.AddrPort) (rendezvous.Paired, error) {
	message := func() []byte {
		b, _ := json.Marshal(offer{UDP: addrs}) // addresses always marshal
		return b
	}
	if err := client.Join(ctx, c.Room, message()); err != nil {
		return rendezvous.Paired{}, err
	}
	for {
		wait, cancel := context.WithTimeout(ctx, refresh)
		e, err := client.Recv(wait)
		again := err != nil && wait.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case again:
			if addrs, err = c.gather(ctx, pc); err == nil {
				err = client.Update(ctx, c.Room, message())
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
