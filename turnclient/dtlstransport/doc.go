// Package dtlstransport lets turnclient reach TURN servers over DTLS (RFC 7350). It is a
// package of its own so that only those link DTLS who use it:
//
//	client, err := turnclient.Dial(ctx, turnclient.Config{
//		Servers: []string{"turns:turn.example.org?transport=udp"},
//		DTLS:    dtlstransport.Client,
//	})
//
// The DTLS library allocates for every datagram, where turnclient itself does not over any
// transport: a datagram to a server and back makes 73 allocations on both sides together,
// and took 2.8 times as long as over plain UDP on loopback (go test -bench DTLS).
package dtlstransport
