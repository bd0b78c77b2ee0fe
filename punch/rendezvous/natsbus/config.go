package natsbus

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/pion/logging"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// Config says how a Bus behaves. Conn alone is enough.
type Config struct {
	// Conn is the connection to NATS, which stays its owner's: Close does not close
	// it. Make it with nats.MaxReconnects(-1), for a Bus cannot do without it, with a
	// nats.ReconnectWait well below Patience, 250 ms say, and with nats.FlusherTimeout
	// if Close must not wait for a minute where the connection stalls. Several buses,
	// of servers in one process, may share it. There is no default.
	Conn *nats.Conn

	// Prefix begins all subjects, and, with "_" for ".", the names of the two
	// streams. Nodes with the same prefix are one service. Default
	// "bradawl.rendezvous".
	Prefix string

	// Replicas is how many NATS servers keep the two streams, 1 to 5. It counts for
	// who makes them; they can be changed later by the means of NATS. Default 1; in a
	// cluster give 3, so that one server may fail.
	Replicas int

	// Patience is how long the node may be without NATS before it counts itself as
	// cut off, at least 1 s. What happens within it costs time and loses nothing. A
	// node that has died is replaced after half as long again, in whole seconds and
	// at least 2 s. The clocks of the NATS servers must not differ by more than the
	// third of it. Default 4 s.
	Patience time.Duration

	// QueueMessages and QueueBytes bound what waits for the server to take it in, and
	// what waits for other nodes, each. A message counts as its Data and 200 bytes.
	// When what waits for the server is more, other nodes have to wait, and their
	// messages to peers are refused with CodePeerBusy; when what waits for other nodes
	// is more, joins, updates and messages to peers are refused with CodeServerFull,
	// and if the rest, which cannot be refused, makes it four times as much, the node
	// cuts itself off.
	// Defaults 65,536 and 64 MiB.
	QueueMessages int
	QueueBytes    int

	// LoggerFactory gets a line at warning level when the node is cut off, with the
	// reason, and at info level when it has joined. Nil: no log.
	LoggerFactory logging.LoggerFactory
}

// withDefaults returns c with every default filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = "bradawl.rendezvous"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Patience == 0 {
		c.Patience = 4 * time.Second
	}
	if c.QueueMessages == 0 {
		c.QueueMessages = 1 << 16
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	switch {
	case c.Conn == nil:
		return c, &ConfigError{Field: "Conn", Reason: "is nil; give a connection of nats.Connect"}
	case c.Conn.IsClosed():
		return c, &ConfigError{Field: "Conn", Reason: "is closed; give one that reconnects without end (nats.MaxReconnects(-1))"}
	case !validPrefix(c.Prefix):
		return c, badConfig("Prefix", fmt.Sprintf("%.100q", c.Prefix), "is no prefix; give 1 to 64 characters of A-Z a-z 0-9 _ -, in parts divided by single dots")
	case c.Replicas < 1 || c.Replicas > 5:
		return c, badConfig("Replicas", c.Replicas, "is not possible; give 1 to 5, or 0 for the default of 1")
	case c.Patience < time.Second:
		return c, badConfig("Patience", c.Patience, "is too short; give at least 1 s, or 0 for the default of 4 s")
	case c.QueueMessages < 0:
		return c, badConfig("QueueMessages", c.QueueMessages, "is no bound; give a number of messages, or 0 for the default of 65,536")
	case c.QueueBytes < 0:
		return c, badConfig("QueueBytes", c.QueueBytes, "is no bound; give a number of bytes, or 0 for the default of 64 MiB")
	}
	return c, nil
}

// validPrefix is the rule of room names, without what NATS could not take.
func validPrefix(p string) bool {
	return rendezvous.ValidRoom(p) && !strings.HasPrefix(p, ".") && !strings.HasSuffix(p, ".") && !strings.Contains(p, "..")
}

func (c Config) settings() settings {
	return settings{patience: c.Patience, queueMessages: c.QueueMessages, queueBytes: c.QueueBytes}
}
