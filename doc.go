// Package bradawl connects programs by their keys, wherever they are: through the NATs
// between them where that is possible, by a relay until it is and where it is not.
//
// A [Session] is a program among its peers. It is made with an [Identity] and a
// [Signaler], which gets messages to peers before there is a path; package
// punch/rendezvous has one. Everything else has defaults.
//
//	s, err := bradawl.New(ctx, bradawl.Config{Signaler: &rendezvous.Signaler{URL: "wss://meet.example.org/"}})
//	conn, err := s.Dial(ctx, peer)   // or s.Accept(ctx)
//	conn.Write([]byte("hello"))
//
// # Connections
//
// A peer is its key: [PeerID] is the text of it, and to dial one reaches that key's holder
// or fails. Offer and answer are a Noise handshake (IK), so that the signalling can neither
// read nor take part. A [Conn] carries datagrams of up to MaxDatagram bytes, sealed with
// the keys that come of it. Dial returns as soon as one path works, which may be a relay's;
// data moves to a better one by itself: direct before relayed, unless loss or round trip say
// otherwise over a window. While the path in use does not answer, data takes the others as
// well. When addresses change, NATs are rebooted or interfaces come and go, new paths are
// made beside the old ones. To dial a peer again makes another Conn, on the same paths.
//
// [Conn.Path] and [Conn.Paths] tell which way data goes, [Conn.Explain] why, and what was
// tried; [Session.Events] tells all that happens, and Config.Record gets what became of each
// connection, stage by stage, for statistics. Config.TreatPeer lets peers be treated
// differently, so that such statistics can compare.
//
// # Parts
//
// The parts can be used by themselves: natprobe finds out what a NAT does, ice finds the
// paths between two hosts, turnclient gets relayed addresses, punch opens holes without
// any of that, punch/rendezvous is where peers meet.
//
// examples/twopeer shows all of it in a simulated internet, examples/peer and examples/chat
// over the real one. ARCHITECTURE.md tells how it is built.
package bradawl
