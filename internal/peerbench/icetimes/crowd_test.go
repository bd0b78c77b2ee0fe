package icetimes

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	ice2 "github.com/pion/ice/v2"
	ice4 "github.com/pion/ice/v4"

	"github.com/bradawl/bradawl/ice"
)

// A crowd makes agents of one implementation that stay, for either of two sides.
type crowd struct {
	agent func(controlling bool) (agent, error)
	// shared is what the agents of each side share, and what ends with the crowd.
	shared [2]io.Closer
}

var crowds = []struct {
	name string
	make func() (*crowd, error)
}{
	{"bradawl", ourCrowd},
	{"pion-v2", func() (*crowd, error) {
		return &crowd{agent: func(bool) (agent, error) { return makePion2(hosts2()) }}, nil
	}},
	{"pion-v2-mux", muxCrowd(
		func(pc net.PacketConn) *ice2.UDPMuxDefault {
			return ice2.NewUDPMuxDefault(ice2.UDPMuxParams{UDPConn: pc})
		},
		func(mux *ice2.UDPMuxDefault) (agent, error) {
			cfg := hosts2()
			cfg.UDPMux = mux
			return makePion2(cfg)
		})},
	{"pion-v4", func() (*crowd, error) {
		return &crowd{agent: func(bool) (agent, error) { return makePion4(hosts4()) }}, nil
	}},
	{"pion-v4-mux", muxCrowd(
		func(pc net.PacketConn) *ice4.UDPMuxDefault {
			return ice4.NewUDPMuxDefault(ice4.UDPMuxParams{UDPConn: pc})
		},
		func(mux *ice4.UDPMuxDefault) (agent, error) {
			cfg := hosts4()
			cfg.UDPMux = mux
			return makePion4(cfg)
		})},
}

// close ends the agents and what they share.
func (c *crowd) close(agents ...agent) (err error) {
	for _, a := range agents {
		err = errors.Join(err, a.close())
	}
	for _, s := range c.shared {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// pair makes two agents and has them meet.
func (c *crowd) pair(ctx context.Context) (agents []agent, one, other net.Conn, err error) {
	for _, controlling := range []bool{true, false} {
		a, err := c.agent(controlling)
		if err != nil {
			return agents, nil, nil, err
		}
		agents = append(agents, a)
	}
	one, other, _, err = join(ctx, Host, agents[0], agents[1])
	return agents, one, other, err
}

func side(controlling bool) int {
	if controlling {
		return 1
	}
	return 0
}

// ourCrowd has an endpoint, with one socket, for each side.
func ourCrowd() (*crowd, error) {
	var ends [2]*ice.Endpoint
	c := &crowd{agent: func(controlling bool) (agent, error) {
		a, err := ends[side(controlling)].NewAgent(ice.AgentConfig{Controlling: controlling})
		return &ours{agent: a}, err
	}}
	for i := range ends {
		var err error
		ends[i], err = ice.Listen(context.Background(), ice.Config{
			Networks: []string{"udp4"}, Loopback: true,
			Addrs: func() ([]ice.HostAddr, error) {
				return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
			},
		})
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.shared[i] = ends[i]
	}
	return c, nil
}

// muxCrowd has one of pion's multiplexers, with one socket, for each side.
func muxCrowd[M io.Closer](over func(net.PacketConn) M, agentOn func(M) (agent, error)) func() (*crowd, error) {
	return func() (*crowd, error) {
		var muxes [2]M
		c := &crowd{agent: func(controlling bool) (agent, error) { return agentOn(muxes[side(controlling)]) }}
		for i := range muxes {
			pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				return nil, errors.Join(err, c.close())
			}
			muxes[i] = over(pc)
			c.shared[i] = muxes[i]
		}
		return c, nil
	}
}

// TestCrowds has pairs of every crowd talk, so that the benchmarks can.
func TestCrowds(t *testing.T) {
	for _, c := range crowds {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			crowd, err := c.make()
			if err != nil {
				t.Fatal(err)
			}
			var all []agent
			for range 3 {
				agents, one, other, err := crowd.pair(ctx)
				all = append(all, agents...)
				if err == nil {
					err = errors.Join(talk(ctx, one, other), talk(ctx, other, one))
				}
				if err != nil {
					t.Error(err)
				}
			}
			if err := crowd.close(all...); err != nil {
				t.Error(err)
			}
		})
	}
}
