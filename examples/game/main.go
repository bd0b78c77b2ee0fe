// Game is a game server that players reach by its PeerID, and its players.
//
//	go run ./examples/game [-players N] [-time D] [-loss P] [-json]
//
// The internet between them is simulated: each player is behind another kind of NAT, and the
// links lose packets. The server moves the state 20 times a second and sends it to all, as one
// datagram each; players send what they want, and the last one that came counts. Nothing is
// sent again, and what comes late is dropped.
//
// It ends with the score, and by which path, with what lag and loss each has played. With
// -json, standard output is one JSON object for each player.
//
// Exit codes: 0, all have played; 1, some could not, and a line on standard error says why; 2,
// the flags are wrong.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/simworld"
	"github.com/bradawl/bradawl/internal/simnet"
)

func main() { cli.Main("game", run) }

const usage = `usage: game [-players N] [-time D] [-loss P] [-json]

examples:
  game
      four players, ten seconds, 5 % loss
  game -players 12 -loss 0.3 -time 1m
      more of all

exit codes: 0 all have played, 1 some could not, 2 the flags are wrong
`

type options struct {
	players int
	time    time.Duration
	loss    float64
	json    bool
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("game", flag.ContinueOnError)
	flags.IntVar(&o.players, "players", 4, "`number` of players, 1 to 32")
	flags.DurationVar(&o.time, "time", 10*time.Second, "`time` to play")
	flags.Float64Var(&o.loss, "loss", 0.05, "`share` of packets that each link loses, 0 to 0.5")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object for each player")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	switch {
	case o.players < 1 || o.players > maxPlayers:
		return o, fmt.Errorf("-players %d: want 1 to %d", o.players, maxPlayers)
	case o.time < time.Second || o.time > time.Hour:
		return o, fmt.Errorf("-time %v: want 1s to 1h", o.time)
	case !(o.loss >= 0 && o.loss <= 0.5):
		return o, fmt.Errorf("-loss %v: want 0 to 0.5", o.loss)
	}
	return o, nil
}

// nats are what the players are behind, in turn.
var nats = []string{"port-restricted-cone", "symmetric-sequential", "full-cone", "udp-blocked", "cgnat", "symmetric-random", "open"}

// row is a line of the scoreboard.
type row struct {
	Player string  `json:"player"`
	NAT    string  `json:"nat"`
	Score  int     `json:"score"`
	Path   string  `json:"path"` // direct or relay
	Proto  string  `json:"proto"`
	RTTus  int64   `json:"rtt_us"` // of the path
	LagUS  int64   `json:"lag_us"` // from an input until it is seen
	Loss   float64 `json:"loss"`   // of snapshots
	Late   int     `json:"late"`   // snapshots and inputs that were dropped
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	rows, err := match(ctx, o, stderr)
	if o.json {
		for _, r := range rows {
			_ = json.NewEncoder(stdout).Encode(r) // who closed our output does not want it
		}
		return err
	}
	if len(rows) == 0 { // there was no game
		return err
	}
	fmt.Fprintf(stdout, "%-10s %-20s %5s  %-6s %-5s %8s %8s %6s %4s\n", "player", "nat", "score", "path", "proto", "rtt", "lag", "loss", "late")
	for _, r := range rows {
		fmt.Fprintf(stdout, "%-10s %-20s %5d  %-6s %-5s %5d ms %5d ms %4.1f %% %4d\n",
			r.Player, r.NAT, r.Score, r.Path, r.Proto, r.RTTus/1000, r.LagUS/1000, 100*r.Loss, r.Late)
	}
	return err
}

// match is one game in a world of its own, until the score is known. Where it has not come to
// one, there are no rows.
func match(ctx context.Context, o options, stderr io.Writer) ([]row, error) {
	stop := cli.Wait(stderr, "the players come")
	defer func() { stop() }()
	w, err := simworld.Open(ctx, simworld.Config{Seed: 1})
	if err != nil {
		return nil, err
	}
	var serving, playing sync.WaitGroup
	defer playing.Wait()
	defer w.Close()
	link := simnet.Link{Delay: 10 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: o.loss, Reorder: 0.02}
	// Over TCP what is lost comes late, which is worse for a game. Where there is no UDP, the
	// relay takes over.
	udp := func(cfg *bradawl.Config) { cfg.Networks = []string{"udp4", "udp6"} }
	host, _, err := w.Join(ctx, "server", "port-restricted-cone", link, udp)
	if err != nil {
		return nil, err
	}
	rows, players := make([]row, o.players), make([]*bradawl.Session, o.players)
	for i := range players {
		rows[i] = row{Player: fmt.Sprintf("player %d", i+1), NAT: nats[i%len(nats)]}
		if players[i], _, err = w.Join(ctx, rows[i].Player, rows[i].NAT, link, udp); err != nil {
			return nil, err
		}
	}
	if err := w.SignOn(ctx); err != nil {
		return nil, err
	}

	over, cancel := context.WithCancel(ctx)
	defer cancel()
	g := &server{arena: arena{rand: rand.New(rand.NewPCG(1, 2))}}
	serving.Go(func() { g.serve(over, host) })
	defer serving.Wait()
	defer cancel()
	errs, tallies := make([]error, o.players), make([]tally, o.players)
	conns := make([]*bradawl.Conn, o.players)
	for i, s := range players { // one after the other, so that the server numbers them so
		if conns[i], err = s.Dial(ctx, host.ID()); err != nil {
			return nil, fmt.Errorf("%s: %w", rows[i].Player, err)
		}
		playing.Go(func() { tallies[i] = play(conns[i]) })
	}
	stop()
	stop = cli.Wait(stderr, "they play")
	select {
	case <-time.After(o.time):
	case <-ctx.Done():
	}
	for i, conn := range conns {
		path := conn.Path()
		rows[i].Path, rows[i].Proto, rows[i].RTTus = string(path.Kind), path.Protocol, path.RTT.Microseconds()
		conn.Close()
	}
	playing.Wait()
	stop()
	stop = cli.Wait(stderr, "they leave")
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, t := range tallies {
		p := g.playerOf(players[i].ID())
		rows[i].LagUS, rows[i].Loss, rows[i].Late = t.lag.Microseconds(), t.loss(), t.late+p.late
		rows[i].Score = int(p.score)
		if t.got == 0 {
			errs[i] = fmt.Errorf("%s has seen nothing of the game", rows[i].Player)
		}
	}
	return rows, errors.Join(append(errs, ctx.Err())...)
}

// playerOf is the state of whoever came by a PeerID.
func (g *server) playerOf(id bradawl.PeerID) (p player) {
	for i, conn := range g.conns {
		if conn.Peer() == id {
			p = g.arena.players[i]
		}
	}
	return p
}
