package punch_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/bradawl/bradawl/punch"
)

// hello opens a direct path to a peer and says hello.
func hello(ctx context.Context, conn net.PacketConn, peerAddrs []netip.AddrPort, secret []byte) error {
	path, err := punch.UDP(ctx, conn, punch.UDPConfig{
		Peer:   peerAddrs, // what the peer's STUN servers saw, by way of the rendezvous
		Secret: secret,    // at least 16 bytes that only the two know
	})
	if err != nil {
		return err // says what was tried, what was heard, and what to look at
	}
	_, err = conn.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(path.Remote))
	return err
}

var _ = hello // the README's sample

// Two peers on one machine; Loopback is only for that.
func ExampleUDP() {
	secret := []byte("fresh for each attempt")
	var conns [2]net.PacketConn
	var addrs [2]netip.AddrPort
	for i := range conns {
		var err error
		if conns[i], err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			fmt.Println(err)
			return
		}
		defer conns[i].Close()
		addrs[i] = conns[i].LocalAddr().(*net.UDPAddr).AddrPort()
	}
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			peer := addrs[1-i : 2-i]
			path, err := punch.UDP(context.Background(), conns[i], punch.UDPConfig{Peer: peer, Secret: secret, Loopback: true})
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println("direct path:", path.Remote == peer[0])
		})
	}
	wg.Wait()
	// Output:
	// direct path: true
	// direct path: true
}
