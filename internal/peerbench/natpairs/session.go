package natpairs

import (
	"context"
	"net"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/ice"
)

// post is signalling in memory: each message takes half a round trip.
type post struct {
	boxes map[bradawl.PeerID]chan letter
}

type letter struct {
	from bradawl.PeerID
	text []byte
}

// SignOn implements bradawl.Signaler. The boxes are there before the sessions.
func (p *post) SignOn(_ context.Context, id *bradawl.Identity) (bradawl.Signals, error) {
	return &postOffice{post: p, me: id.ID(), over: make(chan struct{})}, nil
}

type postOffice struct {
	*post
	me   bradawl.PeerID
	over chan struct{}
}

func (o *postOffice) Send(_ context.Context, to bradawl.PeerID, message []byte) error {
	l := letter{o.me, append([]byte(nil), message...)}
	time.AfterFunc(half, func() {
		select {
		case o.boxes[to] <- l:
		case <-o.over:
		}
	})
	return nil
}

func (o *postOffice) Receive(ctx context.Context) (from bradawl.PeerID, message []byte, err error) {
	select {
	case l := <-o.boxes[o.me]:
		return l.from, l.text, nil
	case <-ctx.Done():
		return from, nil, ctx.Err()
	case <-o.over:
		return from, nil, net.ErrClosed
	}
}

func (o *postOffice) Close() error {
	close(o.over)
	return nil
}

// sessions has two of our sessions meet.
func (w *world) sessions() (got outcome) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	signals := &post{boxes: make(map[bradawl.PeerID]chan letter)}
	var ids [2]*bradawl.Identity
	for i := range ids {
		id, err := bradawl.NewIdentity()
		w.check(err)
		ids[i], signals.boxes[id.ID()] = id, make(chan letter, 100)
	}
	var ends [2]*bradawl.Session
	for i, site := range w.sites {
		s, err := bradawl.New(ctx, bradawl.Config{
			Identity: ids[i], Signaler: signals, Timeout: patience,
			STUN: []string{stunIPs[0].String() + ":3478"},
			TURN: []bradawl.TURNServer{
				{URI: "turn:" + turnIP.String() + ":3478?transport=udp", Username: username, Password: password},
				{URI: "turn:" + turnIP.String() + ":443?transport=tcp", Username: username, Password: password},
			},
			ListenPacket: site.ListenPacket, Dial: site.DialFrom,
			Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
				return site.Listen(ctx, network, address, true)
			},
			Addrs: func() (all []ice.HostAddr, err error) {
				for _, a := range site.Addrs() {
					all = append(all, ice.HostAddr{Addr: a})
				}
				return all, nil
			},
		})
		w.check(err)
		defer func() { _ = s.Close() }() // simulated sockets
		ends[i] = s
	}
	w.settle(ends)
	began := time.Now()
	dial, stop := context.WithTimeout(ctx, patience)
	defer stop()
	conn, err := ends[0].Dial(dial, ends[1].ID())
	if err != nil {
		return got // there is no path
	}
	got.usable = time.Since(began)
	for p := range conn.Paths(dial) {
		if p.Kind == bradawl.PathDirect {
			got.direct = time.Since(began)
			break
		}
	}
	return got
}

// settle waits until sessions know their NATs, which they never do where UDP does not pass.
func (w *world) settle(ends [2]*bradawl.Session) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	for _, s := range ends {
		for known := func() bool { _, ok := s.NAT(); return ok && s.SignedOn() }; !known(); {
			for range s.Events(ctx) {
				if known() {
					break
				}
			}
			if ctx.Err() != nil {
				break
			}
		}
	}
	time.Sleep(2 * half) // what was found out is made use of
}
