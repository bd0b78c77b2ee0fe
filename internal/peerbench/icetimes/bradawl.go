package icetimes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/turnclient"
)

// bradawl is package ice with its defaults.
type bradawl struct{}

func (bradawl) Name() string { return "bradawl" }

func (bradawl) Connect(ctx context.Context, kind Kind, servers *Servers) (time.Duration, error) {
	a, err := newOurs(ctx, kind, servers, true)
	if err != nil {
		return 0, err
	}
	b, err := newOurs(ctx, kind, servers, false)
	if err != nil {
		return 0, errors.Join(err, a.close())
	}
	return meet(ctx, kind, a, b)
}

// ours is an endpoint with one agent.
type ours struct {
	endpoint *ice.Endpoint
	agent    *ice.Agent
	relay    *turnclient.Client // nil: none
}

func newOurs(ctx context.Context, kind Kind, servers *Servers, controlling bool) (_ *ours, err error) {
	o := new(ours)
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	cfg, agent := ice.Config{Networks: []string{"udp4"}, Loopback: true}, ice.AgentConfig{Controlling: controlling}
	switch kind {
	case SrflxOnly:
		// Where no NAT is, a reflexive address is the host's own and no candidate. So the
		// host has a private address, and a NAT that shows its ports at 127.0.0.1.
		host = netip.AddrFrom4([4]byte{192, 168, 1, 2})
		cfg.ListenPacket = func(ctx context.Context, network, _ string) (net.PacketConn, error) {
			return new(net.ListenConfig).ListenPacket(ctx, network, "127.0.0.1:0")
		}
		cfg.STUN = []string{servers.Addr.String()}
		agent.Policy = ice.NoHost
	case RelayOnly:
		o.relay, err = turnclient.Dial(ctx, turnclient.Config{
			Servers:     []string{"turn:" + servers.Addr.String()},
			Credentials: turnclient.Credentials{Username: servers.Username, Password: servers.Password},
		})
		if err != nil {
			return nil, err
		}
		cfg.Relays = []ice.Allocator{o.relay}
		agent.Policy = ice.RelayOnly
	}
	cfg.Addrs = func() ([]ice.HostAddr, error) { return []ice.HostAddr{{Addr: host}}, nil }
	if o.endpoint, err = ice.Listen(ctx, cfg); err != nil {
		return nil, err
	}
	if o.agent, err = o.endpoint.NewAgent(agent); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *ours) gather(ctx context.Context) ([]string, error) {
	var found []string
	for {
		e, err := o.agent.Next(ctx)
		if err != nil {
			return nil, err
		}
		switch e.Kind {
		case ice.EventCandidate:
			found = append(found, e.Candidate.String())
		case ice.EventGathered:
			return found, nil
		}
	}
}

func (o *ours) credentials() (ufrag, pwd string, err error) {
	c := o.agent.LocalCredentials()
	return c.Ufrag, c.Pwd, nil
}

func (o *ours) add(candidate string) error {
	c, err := ice.ParseCandidate(candidate)
	if err != nil {
		return err
	}
	return o.agent.AddRemote(c)
}

func (o *ours) connect(ctx context.Context, _ bool, ufrag, pwd string) (net.Conn, error) {
	if err := o.agent.SetRemote(ice.Credentials{Ufrag: ufrag, Pwd: pwd}); err != nil {
		return nil, err
	}
	conn, err := o.agent.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; pairs %+v", err, o.agent.Pairs())
	}
	return conn, nil
}

func (o *ours) close() (err error) {
	if o.endpoint != nil {
		err = o.endpoint.Close()
	}
	if o.relay != nil {
		err = errors.Join(err, o.relay.Close())
	}
	return err
}
