// Sendfile sends a file to a peer, wherever it is, and goes on where it was broken off.
//
//	sendfile -rendezvous ws://HOST:PORT/ [-id FILE] -receive FOLDER -from PEERID[,PEERID...]
//	sendfile -rendezvous ws://HOST:PORT/ [-id FILE] PEERID FILE
//
// Each side is known by its PeerID, which -id keeps in a file; -receive prints it. Files are
// taken only from the peers that -from names. A file that comes has another name until it is
// whole and its SHA-256 is the one that was announced; nothing that is there is overwritten.
// To go on with a transfer that was broken off, give the same command again. What has come of
// it is kept for a week after the last byte, as NAME.*.part; when a file comes, older parts are
// removed, and then the oldest, as long as they and the file have more bytes than -max.
//
// With -json, standard output is one JSON object for each file: name, bytes, resumed_at,
// sha256, ms, path (direct or relay).
//
// Exit codes: 0, the file is there, and whole; 1, it is not, and a line on standard error says
// why; 2, the flags are wrong.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/examples/internal/quicpeer"
	"github.com/bradawl/bradawl/punch/rendezvous"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Exit("sendfile", run(ctx, os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

const usage = `usage: sendfile -rendezvous ws://HOST:PORT/ [-id FILE] -receive FOLDER -from PEERID[,PEERID...]
       sendfile -rendezvous ws://HOST:PORT/ [-id FILE] PEERID FILE

examples:
  sendfile -rendezvous ws://127.0.0.1:8080/ -id me.key
      prints who we are
  sendfile -rendezvous ws://127.0.0.1:8080/ -id me.key -receive . -from x5ldc...
      takes one file from that peer
  sendfile -rendezvous ws://127.0.0.1:8080/ -id me.key k3q7f... holiday.mp4
      sends one; again, to go on with it

What has come of a file that was broken off is kept as NAME.*.part, for a week after the last
byte, and no more than -max bytes of all such files and the one that comes: the oldest are
removed first.

exit codes: 0 the file is there and whole, 1 it is not, 2 the flags are wrong
`

type options struct {
	rendezvous, id, folder, file string
	stun                         []string
	from                         []bradawl.PeerID
	to                           bradawl.PeerID
	count                        int
	max                          int64
	json                         bool
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("sendfile", flag.ContinueOnError)
	flags.StringVar(&o.rendezvous, "rendezvous", "", "`URL` of the rendezvous, ws:// or wss://; examples/rendezvous is one")
	flags.StringVar(&o.id, "id", "", "`file` that keeps who we are; without it we are somebody new each time")
	stun := flags.String("stun", "", "STUN `servers`, host:port, separated by commas, beside those that the rendezvous hands out")
	flags.StringVar(&o.folder, "receive", "", "`folder` to receive in")
	from := flags.String("from", "", "`PEERIDs` of those who may send, separated by commas")
	flags.IntVar(&o.count, "n", 1, "`number` of files to receive; 0: until interrupted")
	flags.Int64Var(&o.max, "max", 1<<36, "`bytes` that a file to receive may have, with all parts of others")
	flags.BoolVar(&o.json, "json", false, "print JSON, an object for each file")
	if err := cli.Parse(flags, args, help, usage, true); err != nil {
		return o, err
	}
	if *stun != "" {
		o.stun = strings.Split(*stun, ",")
	}
	for _, name := range []string{"from", "n", "max"} {
		if given(flags, name) && o.folder == "" {
			return o, fmt.Errorf("-%s is for who receives; give -receive FOLDER with it, or leave it out", name)
		}
	}
	who := flags.NArg() == 0 && o.folder == "" && o.id != ""
	switch {
	case o.rendezvous == "" && !who:
		return o, errors.New("-rendezvous is missing; give the URL that examples/rendezvous prints")
	case o.folder != "" && flags.NArg() > 0:
		return o, errors.New("give -receive, or a PEERID and a FILE, not both")
	case o.folder != "" && *from == "":
		return o, errors.New("-from is missing; name the PEERIDs that may send")
	case o.folder == "" && !who && flags.NArg() != 2:
		return o, errors.New("want -receive FOLDER, or a PEERID and a FILE")
	case o.count < 0:
		return o, fmt.Errorf("-n %d: want 0 or more", o.count)
	case o.max < 0:
		return o, fmt.Errorf("-max %d: want 0 or more", o.max)
	}
	if *from != "" {
		for text := range strings.SplitSeq(*from, ",") {
			id, err := bradawl.ParsePeerID(strings.TrimSpace(text))
			if err != nil {
				return o, fmt.Errorf("-from: %w", err)
			}
			o.from = append(o.from, id)
		}
	}
	if flags.NArg() == 2 {
		o.file = flags.Arg(1)
		o.to, err = bradawl.ParsePeerID(flags.Arg(0))
	}
	return o, err
}

// given reports whether a flag was set by who called us.
func given(flags *flag.FlagSet, name string) (is bool) {
	flags.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return cli.Usage(err)
	}
	identity, err := identity(o.id)
	if err != nil {
		return err
	}
	if o.folder == "" && o.file == "" {
		_, err := fmt.Fprintln(stdout, identity.ID())
		return err
	}
	s, err := bradawl.New(ctx, bradawl.Config{
		Identity: identity, Signaler: &rendezvous.Signaler{URL: o.rendezvous}, Protocol: "bradawl examples/sendfile 1", STUN: o.stun,
		AllowPeer: func(_ context.Context, peer bradawl.PeerID) bool { return slices.Contains(o.from, peer) },
		Loopback:  strings.Contains(o.rendezvous, "//127.0.0.1") || strings.Contains(o.rendezvous, "//localhost"),
	})
	if wrong := (*bradawl.ConfigError)(nil); errors.As(err, &wrong) { // what a flag has put into it
		return cli.Usage(err)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if o.folder != "" {
		return receiveFiles(ctx, s, o, stdout, stderr)
	}
	return sendFile(ctx, s, o, stdout, stderr)
}

func identity(file string) (*bradawl.Identity, error) {
	if file == "" {
		return bradawl.NewIdentity()
	}
	return bradawl.LoadOrCreateIdentity(file)
}

func sendFile(ctx context.Context, s *bradawl.Session, o options, stdout, stderr io.Writer) error {
	file, err := os.Open(o.file)
	if err != nil {
		return err
	}
	defer file.Close()
	meter := newMeter(stderr)
	defer meter.close()
	meter.start("connecting to "+o.to.Short(), 0, 0)
	conn, err := quicpeer.Dial(ctx, s, o.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Under().Close() })()
	began := time.Now()
	res, err := send(ctx, conn, file, meter)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	res.MS, res.Path = time.Since(began).Milliseconds(), string(conn.Under().Path().Kind)
	return tell(stdout, o.json, "sent", res)
}

func receiveFiles(ctx context.Context, s *bradawl.Session, o options, stdout, stderr io.Writer) error {
	root, err := os.OpenRoot(o.folder)
	if err != nil {
		return err
	}
	defer root.Close()
	ln := quicpeer.Listen(s)
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	go reachable(ctx, s, stderr) // ends with the session
	to := &folder{root: root, max: o.max}
	for n := 0; o.count == 0 || n < o.count; {
		stop := cli.Wait(stderr, "waiting for a file")
		conn, err := ln.Accept()
		stop()
		if ctx.Err() != nil && o.count == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		res, err := receiveFile(ctx, conn.(*quicpeer.Conn), to, stderr)
		if err != nil { // the sender can come again
			fmt.Fprintf(stderr, "from %s: %s\n", conn.RemoteAddr().(bradawl.Addr).Peer.Short(), strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		n++
		if err := tell(stdout, o.json, "received", res); err != nil {
			return err
		}
	}
	return nil
}

// reachable tells from when on we can be reached, and why not.
func reachable(ctx context.Context, s *bradawl.Session, stderr io.Writer) {
	told := false
	for e := range s.Events(ctx) {
		switch {
		case e.Kind == bradawl.EventSignalUp:
			fmt.Fprintf(stderr, "I am %s, and can be reached\n", s.ID())
			told = false
		case e.Kind == bradawl.EventSignalDown && !told:
			fmt.Fprintf(stderr, "no rendezvous, trying again: %v\n", e.Err)
			told = true
		}
	}
}

func receiveFile(ctx context.Context, conn *quicpeer.Conn, to *folder, stderr io.Writer) (result, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Under().Close() })()
	meter := newMeter(stderr)
	defer meter.close()
	began := time.Now()
	res, err := to.receive(ctx, conn, meter)
	res.MS, res.Path = time.Since(began).Milliseconds(), string(conn.Under().Path().Kind)
	return res, err
}

func tell(w io.Writer, asJSON bool, what string, res result) error {
	if asJSON {
		return json.NewEncoder(w).Encode(res)
	}
	resumed := ""
	if res.Resumed > 0 {
		resumed = fmt.Sprintf(", %d of them earlier", res.Resumed)
	}
	_, err := fmt.Fprintf(w, "%s %s, %d bytes%s, in %d ms by %s\n", what, res.Name, res.Bytes, resumed, res.MS, res.Path)
	return err
}
