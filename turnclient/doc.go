// Package turnclient is a TURN client (RFC 8656): it gets an address on a relay
// server and moves datagrams through it, and tells what becomes of that.
//
// [Dial] makes a [Client] for one or several servers, [Client.Allocate] an
// [Allocation], which is a net.PacketConn:
//
//	client, err := turnclient.Dial(ctx, turnclient.Config{
//		Servers:     []string{"turn:turn.example.org"},
//		Credentials: turnclient.Credentials{Username: "user", Password: "secret"},
//	})
//	relay, err := client.Allocate(ctx)
//	relay.WriteToUDPAddrPort([]byte("hello"), peer)
//
// Permissions and channels are kept for each peer without the caller's help. The first
// datagrams to a new peer wait for its permission, which holds up nobody else; permissions
// of a peer that is not used lapse. Once a peer is permitted, a write goes straight to
// the socket and a read comes straight from it, without an allocation.
//
// An allocation is refreshed long before it ends, again and again while the server does
// not answer. When writes go out and nothing comes back, the server is asked whether
// the allocation still stands. One that is lost is made anew, on the same Allocation:
// an [Event] says so, with the new address and what was lost.
//
// What cannot be sent is an error of the write, but for the first datagrams to a new peer:
// their writes return nil before the server was asked. If it then refuses the peer,
// EventPermission and EventDropped say so, Stats counts them as Dropped, and further writes
// fail, with a *[PeerError]. To know before the first write, call [Allocation.Permit].
//
// # Relays of TCP
//
// [Client.AllocateTCP] gets a relayed address of TCP (RFC 6062) instead, from a server
// that is reached over TCP or TLS. A [TCPAllocation] dials peers from that address and is
// a net.Listener at it:
//
//	relay, err := client.AllocateTCP(ctx)
//	conn, err := relay.Dial(ctx, peer)
//
//	err = relay.Permit(ctx, peer.Addr())
//	conn, err = relay.Accept()
//
// Each connection to a peer has one to the server of its own. What is handed out is that
// connection, once the server has bound the two together: nothing lies between but the
// addresses that it tells. It ends with the allocation, which is kept, and made anew when
// it is lost, as any other.
//
// # Reaching servers
//
// A server is named by a URI (RFC 7065) and found in the DNS (RFC 5928). "turn:HOST" alone
// means UDP and, where nothing answers over that, TCP; "turns:HOST" means TLS, and DTLS
// before it if Config.DTLS brings that, as package dtlstransport does. Servers, addresses
// and transports are raced (RFC 8305). Config.Proxy takes TCP and TLS through HTTP proxies.
//
// # Trying it
//
// A server on one's own machine is "go run ./examples/server" in a clone of this module: it
// relays on loopback without any flag, and docs/production.md has how to make a user name
// and a password for it. coturn relays to no loopback address unless it is started with
// --allow-loopback-peers, and refuses such a peer with 403 (Forbidden). examples/turncheck
// says what a server can do. Tests have a server without a network in package turntest.
//
// # Machine and shell
//
// [Machine] is the whole protocol as a sans-IO machine (see internal/machine): it can
// be run in a simulator, and decides everything. Client and Allocation are the shell
// around it.
package turnclient
