package icetimes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/bradawl/bradawl/ice"
)

// A crowd makes agents of one implementation that stay, for either of two sides. pion's
// have a socket each: those that share one tell their peers apart by address, and both
// sides of a crowd have one address here.
type crowd struct {
	agent func(controlling bool) (agent, error)
	// ends are what the agents of each side share.
	ends [2]*ice.Endpoint
}

var crowds = []struct {
	name string
	make func() (*crowd, error)
}{
	{"bradawl", ourCrowd},
	{"pion-v2", func() (*crowd, error) {
		return &crowd{agent: func(bool) (agent, error) { return makePion2(hosts2()) }}, nil
	}},
	{"pion-v4", func() (*crowd, error) {
		return &crowd{agent: func(bool) (agent, error) { return makePion4(hosts4()) }}, nil
	}},
}

// close ends the agents and what they share.
func (c *crowd) close(agents ...agent) (err error) {
	for _, a := range agents {
		err = errors.Join(err, a.close())
	}
	for _, e := range c.ends {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	return err
}

// pair makes two agents and has them meet.
func (c *crowd) pair(ctx context.Context) (agents []agent, one, other net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
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

// ourCrowd has an endpoint, with one socket, for each side.
func ourCrowd() (*crowd, error) {
	c := new(crowd)
	c.agent = func(controlling bool) (agent, error) {
		end := c.ends[0]
		if controlling {
			end = c.ends[1]
		}
		a, err := end.NewAgent(ice.AgentConfig{Controlling: controlling})
		return &ours{agent: a}, err
	}
	for i := range c.ends {
		var err error
		c.ends[i], err = ice.Listen(context.Background(), ice.Config{
			Networks: []string{"udp4"}, Loopback: true,
			Addrs: func() ([]ice.HostAddr, error) {
				return []ice.HostAddr{{Addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}, nil
			},
		})
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// TestCrowds has pairs of every crowd talk, so that the benchmarks can.
func TestCrowds(t *testing.T) {
	for _, c := range crowds {
		t.Run(c.name, func(t *testing.T) {
			crowd, err := c.make()
			if err != nil {
				t.Fatal(err)
			}
			var all []agent
			for range 3 {
				agents, one, other, err := crowd.pair(t.Context())
				all = append(all, agents...)
				if err == nil {
					err = errors.Join(talk(t.Context(), one, other), talk(t.Context(), other, one))
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
