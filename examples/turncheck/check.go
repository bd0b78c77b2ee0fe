package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bradawl/bradawl/turnclient"
)

const (
	maxProbes   = 100000
	probeHeader = 8 + 4       // a nonce, and a number
	straggle    = time.Second // after the last probe; what is later counts as lost
)

// result is what became of a way.
type result struct {
	Target    string    `json:"target"`
	Transport string    `json:"transport"`
	Family    string    `json:"family"`
	Server    string    `json:"server"`
	OK        bool      `json:"ok"` // there was an address, and data came back through it
	Allocate  float64   `json:"allocate_ms"`
	RTT       *trip     `json:"rtt_ms,omitempty"` // absent where nothing came back
	Sent      int       `json:"sent"`
	Received  int       `json:"received"`
	Loss      float64   `json:"loss"`
	Relayed   string    `json:"relayed,omitempty"`
	Mapped    string    `json:"mapped,omitempty"`
	Lifetime  int       `json:"lifetime_s"`
	Features  *features `json:"features,omitempty"` // absent where there was no address
	Error     string    `json:"error,omitempty"`
	Code      int       `json:"code,omitempty"` // STUN error code
}

// trip is a distribution of round trips, in milliseconds.
type trip struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

// features are what the server was found to be able to.
type features struct {
	SHA256   bool `json:"sha256"`
	Userhash bool `json:"userhash"`
	Mobility bool `json:"mobility"`
	Channel  bool `json:"channel"`
}

// check tries one way.
func (o *options) check(ctx context.Context, w way) result {
	r := result{Target: w.target.text, Transport: w.transport, Family: w.family(), Server: w.addr.String()}
	if err := o.measure(ctx, w, &r); err != nil {
		r.fail(err)
		if errors.Is(err, turnclient.ErrCredentials) && o.cfg.Credentials.Username == "" {
			r.Error += "; give -user and -pass"
		}
	}
	r.OK = r.Received > 0
	if r.Sent > 0 {
		r.Loss = 1 - float64(r.Received)/float64(r.Sent)
	}
	return r
}

// fail says in one line why the way does not work.
func (r *result) fail(err error) {
	var server *turnclient.ServerError
	if errors.As(err, &server) {
		r.Code = server.Code
		var peer *turnclient.PeerError
		if !errors.As(err, &peer) {
			err = server // the rest names the same server again
		}
	}
	r.Error = strings.ReplaceAll(err.Error(), "turnclient: ", "")
}

func (o *options) measure(ctx context.Context, w way, r *result) error {
	cfg := o.cfg
	cfg.Servers = []string{w.uri}
	cfg.ChannelAfter = 1
	cfg.Mobility = true
	cfg.TLS = cfg.TLS.Clone()
	if cfg.TLS.ServerName = o.name; o.name == "" {
		cfg.TLS.ServerName = w.target.host
		if _, err := netip.ParseAddr(w.target.host); err == nil && strings.HasPrefix(w.uri, "turns:") {
			return fmt.Errorf("a certificate is for a name, and %s is none; name the host, or give its name by -name", w.target.host)
		}
	}
	inTime, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("-timeout %v", o.timeout))
	defer cancel()
	start := time.Now()
	client, err := turnclient.Dial(inTime, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	relay, err := client.Allocate(inTime)
	if err != nil {
		return err
	}
	r.Allocate = ms(time.Since(start))
	r.Relayed, r.Mapped = relay.RelayedAddr().String(), relay.MappedAddr().String()
	r.Features = &features{}
	to := o.peer
	if !to.IsValid() {
		to = relay.RelayedAddr()
	}
	err = o.probe(ctx, relay, to, r)
	for len(relay.Events()) > 0 {
		switch e := <-relay.Events(); {
		case e.Kind == turnclient.EventAllocated:
			r.Lifetime = int(e.Lifetime / time.Second)
			r.Features.SHA256, r.Features.Userhash, r.Features.Mobility = e.Features.SHA256, e.Features.Userhash, e.Features.Mobility
		case e.Kind == turnclient.EventChannel && e.Channel != 0:
			r.Features.Channel = true
		}
	}
	return err
}

// probe measures round trips through the relay.
func (o *options) probe(ctx context.Context, relay *turnclient.Allocation, to netip.AddrPort, r *result) error {
	inTime, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("-timeout %v", o.timeout))
	defer cancel()
	if err := relay.Permit(inTime, to.Addr()); err != nil {
		if errors.Is(err, turnclient.ErrNotPermitted) && !o.peer.IsValid() {
			return fmt.Errorf("it gives an address, but does not relay to itself; give an echo server by -peer: %w", err)
		}
		return err
	}
	packet := make([]byte, o.size)
	rand.Read(packet[:8]) // never fails
	var (
		mu    sync.Mutex
		sent  = make([]time.Time, o.probes) // guarded by mu; zero: not yet, or not any more
		trips []float64                     // the reader's until it has ended
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		buf := make([]byte, o.size+1)
		for len(trips) < o.probes {
			n, from, err := relay.ReadFromUDPAddrPort(buf)
			if err != nil {
				return // it is late
			}
			at := time.Now()
			if n != o.size || from != to || !slices.Equal(buf[:8], packet[:8]) {
				continue
			}
			number := binary.BigEndian.Uint32(buf[8:])
			mu.Lock()
			if uint64(number) < uint64(len(sent)) && !sent[number].IsZero() {
				trips = append(trips, ms(at.Sub(sent[number])))
				sent[number] = time.Time{}
			}
			mu.Unlock()
		}
	})
	next := time.NewTicker(o.interval)
	defer next.Stop()
	var broken error
	for number := range o.probes {
		binary.BigEndian.PutUint32(packet[8:], uint32(number))
		mu.Lock()
		sent[number] = time.Now()
		mu.Unlock()
		if _, err := relay.WriteToUDPAddrPort(packet, to); err != nil {
			broken = err
		}
		r.Sent++
		select {
		case <-next.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	relay.SetReadDeadline(time.Now().Add(straggle))
	wg.Wait()
	r.Received = len(trips)
	switch {
	case len(trips) > 0:
	case broken != nil:
		return fmt.Errorf("it gives an address, but nothing can be sent: %w", broken)
	default:
		return fmt.Errorf("it gives an address, but of %d datagrams to %v none came back", r.Sent, to)
	}
	slices.Sort(trips)
	r.RTT = &trip{percentile(trips, 50), percentile(trips, 95)}
	return nil
}

// percentile is by nearest rank, of values in order.
func percentile(sorted []float64, p int) float64 {
	return sorted[(len(sorted)*p+99)/100-1]
}

func ms(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// head and row are the table.
const (
	format = "%-9s  %-6s  %12s  %10s  %10s  %6s  %8s  %-26s  %s"
	none   = "-"
)

var head = fmt.Sprintf(format, "transport", "family", "allocated in", "rtt p50", "rtt p95", "loss", "lifetime", "features", "relayed address") + "\n"

func (r *result) row() string {
	if r.Features == nil {
		return fmt.Sprintf("%-9s  %-6s  failed: %s", r.Transport, r.Family, r.Error)
	}
	p50, p95 := none, none
	if r.RTT != nil {
		p50, p95 = fmt.Sprintf("%.2f ms", r.RTT.P50), fmt.Sprintf("%.2f ms", r.RTT.P95)
	}
	loss := none
	if r.Sent > 0 {
		loss = fmt.Sprintf("%.1f %%", 100*r.Loss)
	}
	var can []string
	for _, f := range []struct {
		name string
		is   bool
	}{{"channel", r.Features.Channel}, {"mobility", r.Features.Mobility}, {"sha-256", r.Features.SHA256}, {"userhash", r.Features.Userhash}} {
		if f.is {
			can = append(can, f.name)
		}
	}
	if can == nil {
		can = []string{none}
	}
	row := fmt.Sprintf(format, r.Transport, r.Family, fmt.Sprintf("%.2f ms", r.Allocate), p50, p95, loss,
		fmt.Sprintf("%d s", r.Lifetime), strings.Join(can, " "), r.Relayed)
	if r.Error != "" {
		row += "\n" + strings.Repeat(" ", 19) + "failed: " + r.Error
	}
	return row
}
