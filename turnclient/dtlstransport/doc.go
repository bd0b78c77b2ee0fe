// Package dtlstransport lets turnclient reach TURN servers over DTLS (RFC 7350). It is a
// package of its own so that only those link DTLS who use it:
//
//	client, err := turnclient.Dial(ctx, turnclient.Config{
//		Servers: []string{"turns:turn.example.org?transport=udp"},
//		DTLS:    dtlstransport.Client,
//	})
//
// Every datagram costs a few allocations, which are the DTLS library's; over UDP, TCP and
// TLS there are none of the client's own. BenchmarkDTLS counts them.
package dtlstransport
