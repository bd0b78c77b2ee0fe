// Package rendezvous is where peers find each other: a WebSocket server, and
// its client, that hand opaque messages from peer to peer until these have a
// direct path.
//
// A client signs on as its PeerID, by proving that it holds the key. Then it
// can
//
//   - join a room under a name that both peers know, with a message (its
//     offer). As soon as a room has two members that have each given a message,
//     both are handed the other's PeerID and message in the same moment;
//   - send a message to any PeerID that is signed on.
//
// The server also tells each client the public address of its TCP connection.
// It neither reads the messages nor vouches for anything that matters: what
// goes into them should be sealed to the peer's key, and names in a room are
// only as good as that room's secrecy.
//
// [Dial] gives a [Client]; [NewServer] gives a [Server], an http.Handler. Both
// are shells around [ClientMachine] and [ServerMachine], which have no network
// and also run in the simulator.
//
// # Protocol
//
// One WebSocket text message holds one frame, a JSON object of at most 64 KiB
// with its type in "type". Opaque messages are base64 in "data", at most 48,000
// bytes before that. Unknown fields are passed over; of unknown types, a client
// passes over the frame and a server answers with an error.
//
//	server  challenge {version, key, nonce}
//	client  hello     {version, peer, host, proof}
//	server  welcome   {version, peer, address, proven}
//
//	client  join      {room, data?}     server  joined {room}, or error
//	client  update    {room, data}
//	client  leave     {room}
//	server  paired    {room, peer, proven, data}
//	server  left      {room, peer}
//
//	client  send      {peer, data}      server  error if it cannot be delivered
//	server  message   {peer, proven, data}
//
//	client  ping      {}                server  pong {}
//	server  error     {code, reason, room?, peer?}
//
// The proof is HMAC-SHA-256, under the key that ident.DeriveSecret gives for
// the client's and the server's X25519 keys and the context "bradawl rendezvous
// sign-on v1", of the nonce followed by the host that the client dialled (in
// lower case, without the scheme's default port).
//
// If a peer signs on twice, the newer sign-on wins if it is proven, and is
// refused otherwise. When the server closes a connection the WebSocket close
// code is a [Code] from 4000 up.
package rendezvous
