package punch

import "time"

// pacerDepth is how many packets may leave together after a pause.
const pacerDepth = 16

// pacer keeps all that an attempt sends within one Budget: a token bucket, and counts of
// what was spent. It is plain state for one goroutine.
type pacer struct {
	step    time.Duration
	full    time.Time // when the bucket is full again
	probes  int       // left
	entries int
	sockets int
}

// newPacer begins an attempt: the bucket is full.
func newPacer(now time.Time, b Budget) *pacer {
	b = b.WithDefaults()
	return &pacer{
		step: time.Second / time.Duration(b.Rate), full: now,
		probes: max(b.Probes, 0), entries: b.entries(), sockets: max(b.Sockets, 0),
	}
}

// When is the earliest time at which n packets may leave together, in any order; more than
// 16 never do. It may be past. It does not ask whether anything is left of the budget.
func (p *pacer) When(n int) time.Time {
	return p.full.Add(time.Duration(min(max(n, 1), pacerDepth)-pacerDepth) * p.step)
}

// Take spends a packet, and an entry if the NAT makes a new one for it, and reports whether
// it may leave now. If not, nothing is spent.
func (p *pacer) Take(now time.Time, entry bool) bool {
	return !p.When(1).After(now) && p.TakeEarly(now, entry)
}

// TakeEarly is Take for what cannot wait: up to 16 packets more may leave together, and the
// others wait for longer then.
func (p *pacer) TakeEarly(now time.Time, entry bool) bool {
	if p.probes == 0 || entry && p.entries == 0 || p.full.Sub(now) >= 2*pacerDepth*p.step {
		return false
	}
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(p.step)
	p.probes--
	if entry {
		p.entries--
	}
	return true
}

// Open spends a socket, and reports whether there was one left; Close gives it back.
func (p *pacer) Open() bool {
	if p.sockets == 0 {
		return false
	}
	p.sockets--
	return true
}

// Close gives a socket back that Open spent. Its entries are spent for good.
func (p *pacer) Close() { p.sockets++ }

// Left is how many packets, and how many entries, may still be spent.
func (p *pacer) Left() (probes, entries int) { return p.probes, p.entries }
