package turnclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// lookupTimeout ends the lookup of one server.
	lookupTimeout = 30 * time.Second
	// resolvePatience is how long Dial waits for others once one server is found: one
	// whose DNS is dead must not hold up the rest. What is found later is used later.
	resolvePatience = time.Second
	// fresh is how long Allocate goes by what was found, and freshWait how long it
	// waits for what is found anew.
	fresh     = time.Minute
	freshWait = 2 * time.Second
	// lookEvery is the least time between lookups while there is trouble.
	lookEvery = 10 * time.Second
)

// directory is where the configured servers are, as far as it is known.
type directory struct {
	cfg   *Config
	uris  []URI
	fixed bool // nothing needs to be looked up

	mu     sync.Mutex
	found  [][]Endpoint // guarded by mu: of each URI, the last that was found
	errs   []error      // guarded by mu: of the last lookup
	looked time.Time    // guarded by mu: when the last lookup began
	busy   bool         // guarded by mu: it has not ended
}

// newDirectory takes the URIs of a configuration. The error is a *ConfigError.
func newDirectory(c *Config) (*directory, error) {
	n := len(c.Servers)
	if n == 0 || n > MaxServers {
		return nil, &ConfigError{"Servers", fmt.Sprintf("%d named; name 1 to %d TURN servers", n, MaxServers)}
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	d := &directory{cfg: c, fixed: true, found: make([][]Endpoint, n), errs: make([]error, n)}
	for _, s := range c.Servers {
		u, err := c.parse(s)
		if err != nil {
			return nil, err
		}
		d.fixed = d.fixed && u.isIP()
		d.uris = append(d.uris, u)
	}
	return d, nil
}

// CheckServer returns a *ConfigError unless c can use the server with this URI, which it
// need not have yet: so whoever was told of servers can leave out those that would make
// [Dial] fail. It sends nothing.
func (c *Config) CheckServer(uri string) error {
	_, err := c.parse(uri)
	return err
}

// parse reads the URI of a server that can be used.
func (c *Config) parse(s string) (URI, error) {
	u, err := ParseURI(s)
	if err != nil {
		return u, err
	}
	if u.isIP() && u.Secure && (c.TLS == nil || c.TLS.ServerName == "" && !c.TLS.InsecureSkipVerify) {
		// RFC 8489 section 8.1, RFC 7350 section 4.6.1: there is no name to hold the
		// certificate against.
		return u, &ConfigError{"Servers", fmt.Sprintf("%q names an IP address, for which no certificate can be checked; name the host, or set TLS.ServerName", s)}
	}
	if len(u.transports(c.DTLS != nil)) == 0 {
		return u, &ConfigError{"Servers", fmt.Sprintf("%q asks for DTLS, which Config.DTLS must bring; set it to dtlstransport.Client, or use ?transport=tcp", s)}
	}
	return u, nil
}

// look starts to look all servers up, each on a goroutine that run starts, and tells by
// the channel that one was found or not; it is closed after the last. It returns nil if
// there was a lookup less than pause ago, or one is under way.
func (d *directory) look(ctx context.Context, run func(func()), pause time.Duration) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy || !d.looked.IsZero() && (d.fixed || time.Since(d.looked) < pause) {
		return nil
	}
	d.busy, d.looked = true, time.Now()
	answers := make(chan struct{}, len(d.uris))
	left := len(d.uris)
	for i, u := range d.uris {
		run(func() {
			ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			found, err := d.cfg.resolve(ctx, u, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
			if err == nil && len(found) == 0 {
				err = errors.New("the DNS gives no server")
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.errs[i] = nil; err != nil {
				d.errs[i] = &ResolveError{Server: d.cfg.Servers[i], Err: err}
			} else {
				d.found[i] = found
			}
			answers <- struct{}{}
			if left--; left == 0 {
				d.busy = false
				close(answers)
			}
		})
	}
	return answers
}

// await waits until enough is known to begin. The error says that nothing is, and why.
func (d *directory) await(ctx context.Context, answers <-chan struct{}) error {
	if d.fixed {
		for range answers { // takes no time, and needs no ctx
		}
	}
	var enough <-chan time.Time
	for {
		var more bool
		select {
		case _, more = <-answers:
		case <-enough:
		case <-ctx.Done():
		}
		d.mu.Lock()
		errs := slices.Clone(d.errs)
		d.mu.Unlock()
		known := len(d.endpoints()) > 0
		switch {
		case known && !more:
			return nil
		case !more:
			return errors.Join(append(errs, context.Cause(ctx))...)
		case known && enough == nil:
			wait := time.NewTimer(resolvePatience)
			defer wait.Stop()
			enough = wait.C
		}
	}
}

// endpoints returns what was found, in the order of the configuration. Where it is too
// much, those who have the most give.
func (d *directory) endpoints() (all []Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := slices.Clone(d.found)
	total := 0
	for _, f := range found {
		total += len(f)
	}
	for ; total > MaxServers; total-- {
		most := 0
		for i, f := range found {
			if len(f) > len(found[most]) {
				most = i
			}
		}
		found[most] = found[most][:len(found[most])-1]
	}
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

// lookAgain looks the servers up anew, unless that was done less than pause ago, for the
// attempts to come. The channel is closed when it is done; nil: there is nothing to do.
func (c *Client) lookAgain(pause time.Duration) <-chan struct{} {
	answers := c.servers.look(c.ctx, c.run, pause)
	if answers == nil {
		return nil
	}
	return c.learn(answers)
}

// learn tells the machine what the lookup finds, until it has ended.
func (c *Client) learn(answers <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	c.run(func() {
		defer close(done)
		for range answers {
			c.loop.Post(func(now time.Time) {
				if found := c.servers.endpoints(); len(found) > 0 {
					_ = c.m.SetServers(now, found) // they have been checked
				}
			})
		}
		c.servers.mu.Lock()
		defer c.servers.mu.Unlock()
		for _, err := range c.servers.errs {
			if err != nil {
				c.log.Warnf("%v", err)
			}
		}
	})
	return done
}

// run runs fn beside the loop, until Close waits for it.
func (c *Client) run(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Go(fn)
	}
}
