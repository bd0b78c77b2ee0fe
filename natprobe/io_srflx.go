package natprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/plog"
)

// MappedAddresses asks all servers at once where they see pc come from, and
// returns one result for each, in the order given and without repetitions.
//
// It returns as soon as every server has answered or failed; once one has told
// an address, it waits for the others no longer than cfg.Patience. Where no
// server tells one, the error is a *NoAnswersError; where ctx ends first, what
// was learned until then counts and the error, if nothing was, wraps ctx's.
// Something unusable in servers (see MaxServers) or cfg is a *ConfigError.
//
// It has exclusive use of pc while it runs: datagrams of others that arrive
// meanwhile are dropped. pc stays open and is handed back without deadlines.
// cfg may be nil.
func MappedAddresses(ctx context.Context, pc net.PacketConn, servers []netip.AddrPort, cfg *ReflexiveConfig) ([]Mapped, error) {
	if netio.IsNil(pc) {
		return nil, &ConfigError{"pc", "no socket given; open one with net.ListenPacket"}
	}
	m, err := NewReflexive(servers, cfg)
	if err != nil {
		return nil, err
	}
	answers := make([]Mapped, len(m.queries)) // read before the loop owns m
	for i := range answers {
		answers[i].Server = m.queries[i].server
	}
	if err := ctx.Err(); err != nil {
		return finish(answers, err)
	}

	events := make(chan ReflexiveEvent, len(answers)) // room for all: the loop never waits
	options := drive.Options{Sockets: []net.PacketConn{pc}, KeepSockets: true}
	if cfg != nil {
		options.Log = plog.OrDiscard(cfg.LoggerFactory).NewLogger("natprobe")
	}
	loop, err := drive.Run(m, func(e ReflexiveEvent) { events <- e }, options)
	if err != nil {
		return nil, fmt.Errorf("natprobe: %w", err)
	}
	local := netio.AddrPortOf(pc.LocalAddr())
	err = loop.Do(func(now time.Time) { m.Start(now, local) })
	for err == nil {
		select {
		case e := <-events:
			record(answers, e)
			if e.Last {
				return finish(answers, loop.Close())
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	err = errors.Join(err, loop.Close())
	for len(events) > 0 { // what was learned counts more than how the wait ended
		record(answers, <-events)
	}
	return finish(answers, err)
}

func record(answers []Mapped, e ReflexiveEvent) {
	i := slices.IndexFunc(answers, func(a Mapped) bool { return a.Server == e.Server })
	answers[i] = e.Mapped
}

// finish gives every server that has no result cause as its error.
func finish(answers []Mapped, cause error) ([]Mapped, error) {
	var failed []error
	for i := range answers {
		a := &answers[i]
		if !a.Addr.IsValid() && a.Err == nil {
			a.Err = &ServerError{Server: a.Server, Err: ErrNoAnswer}
		}
		if a.Err != nil {
			failed = append(failed, a.Err)
		}
	}
	if len(failed) == len(answers) {
		return nil, &NoAnswersError{Servers: failed, Cause: cause}
	}
	return answers, nil
}
