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
// The server also tells each client the public address of its TCP connection,
// and, if it is configured to, which STUN and TURN servers there are, with
// credentials that last for a while. It neither reads the messages nor vouches
// for anything that matters: what goes into them should be sealed to the peer's
// key, and names in a room are only as good as that room's secrecy.
//
// Its PeerID and Identity, which go doc shows as ident's, are those of package bradawl.
//
// A session of that package comes here by a [Signaler], which needs no more than a
// URL. Beneath it, [Dial] gives a [Client]; [NewServer] gives a [Server], an
// http.Handler. Both are shells around [ClientMachine] and [ServerMachine], which
// have no network and also run in the simulator.
//
// # Running a server
//
// [ServerConfig] bounds what clients can take up: connections, rooms, bytes that
// wait, and the rate of frames, per client and per address. Whoever floods,
// stalls or forges is closed with a [Code] that says so, and holds up nobody
// else. A client costs about 9 KB of memory in its server, its message in the
// room included, and one goroutine (BenchmarkRendezvous).
//
// [Server.ServeHealth] is for load balancers. [Server.Shutdown] ends a server
// without a rush on the next one: clients are sent away one by one, those that
// are at a pairing last. [Client] does not sign on again by itself: its owner
// does, after a random pause.
//
// # Several servers
//
// Servers that are joined by a [Bus] are one service: peers that are signed on at
// different ones meet. The module punch/rendezvous/natsbus has one, by way of NATS,
// and says how to run it. A server whose bus has lost the others sends its clients
// away with [CodeCutOff] until it has found them again.
//
// # Protocol
//
// This is version 1, the WebSocket subprotocol "bradawl.rendezvous.v1". One
// WebSocket text message holds one frame, a JSON object of at most 64 KiB with its
// type in "type". Opaque messages are base64 in "data", at most 48,000
// bytes before that. Unknown fields are passed over; of unknown types, a client
// passes over the frame and a server answers with an error.
//
//	server  challenge {version, key, nonce}
//	client  hello     {version, peer, host, proof}
//	server  welcome   {version, peer, address, proven, servers?}
//
//	client  servers   {}                server  servers {servers?}
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
// In "servers" are objects {uris, username?, credential?, ttl?}: STUN and TURN
// servers as [ICEServer] has them, and for how many seconds the credential is
// good. A client asks again by a frame of type servers before they are over.
//
// The hello is at most 4 KiB. Its proof is HMAC-SHA-256, under the key that
// ident.DeriveSecret gives for the client's and the server's X25519 keys and the
// context "bradawl rendezvous sign-on v1", of the nonce followed by the host that
// the client dialled (in lower case, without the scheme's default port).
//
// If a peer signs on twice, the newer sign-on wins if it is proven, and is
// refused otherwise; where several nodes are joined by a [Bus], an unproven one
// may be welcomed first and closed as soon as its node learns of the other. When the server closes a connection the WebSocket close
// code is a [Code] from 4000 up.
package rendezvous
