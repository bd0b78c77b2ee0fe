// Package natsbus joins any number of rendezvous servers into one service by way
// of NATS with JetStream: peers that are signed on at different nodes meet in rooms
// and write to each other as if there were one. It implements [rendezvous.Bus].
//
//	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond))
//	bus, err := natsbus.New(ctx, natsbus.Config{Conn: nc, Replicas: 3})
//	node, err := rendezvous.NewServer(rendezvous.ServerConfig{Bus: bus})
//
// It is a module of its own, so that only its users link NATS.
//
// # Running N nodes
//
// NATS: nats-server 2.11 or newer with JetStream (nats-server -js), one, or a cluster
// of three with Replicas 3 so that one of them may fail. If it can lose its power,
// set sync_interval: always in its jetstream block: a NATS that forgets what it has
// confirmed may let a room have two homes until that is noticed. The servers of NATS
// need clocks that agree to a third of [Config].Patience. Whoever may write to
// Prefix.> can pretend anything to the nodes, so give the nodes an account of their
// own; they use, beside Prefix.>, the JetStream API and inboxes. max_payload must be
// at least 256 KB (it is 1 MB).
//
// Nodes: each runs a [rendezvous.Server] with a bus of its own; all give the same
// Prefix and Patience. Start and stop them at any time, in any order. In front of
// them is any load balancer for WebSocket, which needs no stickiness and asks
// [rendezvous.Server.ServeHealth]: 503 says that a node drains or is cut off. With
// the limits of ServerConfig in mind: each node counts for itself. To stop a node,
// call Shutdown of its server, then Close of its bus. All nodes must run the same
// version of this package's codec, which changes with the first byte of messages;
// for another version, use another Prefix.
//
// # What it costs
//
// A node renews its lease at NATS, and looks at those of the nodes that it shares
// rooms with, every second, or four times within a shorter Patience. A peer that is
// signed on is a subscription and no goroutine. Who joins a room of another node
// waits for a look into the store and a round trip to that node; with the home at
// its own node, for neither (go test -bench Pair). Every node gets the sign-ons of
// all, about 150 bytes each.
//
// # When something fails
//
// Messages between nodes are asked and answered, in batches, and sent again under
// the same number until they are. So a connection that breaks and comes back, a
// NATS server that restarts or a cluster that changes its leader costs time and
// loses nothing, for up to Patience. Within that clients wait; a join that finds no
// answer from the room's home for three times as long is refused with
// CodeUnreachable, and who sends to a peer that no node has learns that at once, or,
// if no node answers, after one and a half times Patience: then the message may have
// arrived all the same.
//
// A node without NATS for longer than Patience is cut off. It forgets its rooms,
// closes its clients with CodeCutOff ("sign on again, to another one if there is
// one"), closes whoever dials it meanwhile in the same way, and joins again by itself
// as soon as it can. What is lost: the rooms that it was the home of, with the
// messages left there, and all that was under way to and from its clients. When its
// lease ends, half a Patience later, or it comes back before, the other nodes tell
// their members of those rooms (CodeUnreachable; [rendezvous.Client.Meet] joins again
// by itself), have its clients leave their own rooms, and can be the homes. So what
// heals a partition is that clients sign on and join again, which sessions do. If
// NATS itself is away or has no majority, that holds for all nodes: nobody can sign
// on until it is back.
//
// A node that dies is the same, but for that it says nothing to anybody: its clients
// lose their connections.
//
// # How it works
//
// A stream "store" keeps one record under each key, written with the revision that it
// must replace: for each node a lease, that NATS forgets if it is not renewed, and for
// each room the node that is its home. Who finds a home that does not listen puts a
// mark into the place of its lease, which can be done only when that has ended, and
// keeps the node from renewing it; then it takes the room. A second stream puts the
// sign-ons of all nodes into one order. All else is requests: to the home of a room,
// or to whoever subscribes a peer.
//
// No message arrives twice at a node as long as a room has the same home; with a new
// home it may, and does no harm: to join, update and leave are the same when said
// again.
package natsbus
