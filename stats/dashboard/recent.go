package dashboard

import (
	"strconv"
	"sync"
	"time"

	"github.com/bradawl/bradawl/stats"
)

const (
	// maxRecent is how many attempts are remembered one by one: what explains one may come
	// long after it.
	maxRecent = 1024
	// maxShown is how many of them are shown, and how many of those that are not direct.
	maxShown = 24
)

// recent is the latest attempts to connect. An attempt comes with its stage connect; what is
// heard of its stages punch and upgrade, before or after, says why it is not direct, or that
// it is in the end.
type recent struct {
	mu       sync.Mutex
	next     uint64
	rows     [maxRecent]row // by number, modulo
	sessions map[stats.ID]uint64
	reasons  map[stats.ID]hint   // of sessions whose connect is still to come
	order    [maxRecent]stats.ID // of those, by number, modulo
	hints    uint64
}

// row is an attempt. It has neither who nor where.
type row struct {
	session stats.ID
	at      time.Time

	Time    int64   `json:"time"` // Unix, in milliseconds
	Local   string  `json:"local"`
	Remote  string  `json:"remote"`
	Outcome string  `json:"outcome"` // "direct", "relayed", "failed", "unreached" or "cancelled"
	Latency float64 `json:"ms"`
	Tries   int     `json:"tries,omitempty"`
	Pair    string  `json:"pair,omitempty"`
	Proto   string  `json:"protocol,omitempty"`
	Version int     `json:"ip,omitempty"`
	Group   string  `json:"group,omitempty"`
	Lane    string  `json:"lane,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Upgrade float64 `json:"upgrade_ms,omitempty"` // after which a relayed one became direct
}

// hint is what punch or upgrade told.
type hint struct{ lane, reason string }

func newRecent() *recent {
	return &recent{sessions: make(map[stats.ID]uint64), reasons: make(map[stats.ID]hint)}
}

// take takes in a valid event.
func (r *recent) take(e *stats.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	number, shown := r.sessions[e.Session]
	at := &r.rows[number%maxRecent]
	switch {
	case e.Stage == stats.StageConnect && !shown:
		r.add(e)
	case e.Stage != stats.StagePunch && e.Stage != stats.StageUpgrade:
	case e.Status == stats.StatusCancelled && e.Reason == "unconfirmed":
	case !shown:
		r.remember(e)
	case e.Stage == stats.StageUpgrade && e.Status == stats.StatusSuccess && at.Outcome == "relayed":
		at.Outcome, at.Upgrade, at.Lane, at.Reason = "direct", milliseconds(e.Latency), e.Lane, ""
		at.describe(e)
	default:
		at.explain(hint{e.Lane, e.Reason})
	}
}

// remember keeps a reason until the session's connect comes, for so many sessions.
func (r *recent) remember(e *stats.Event) {
	if _, known := r.reasons[e.Session]; !known {
		oldest := &r.order[r.hints%maxRecent]
		delete(r.reasons, *oldest)
		*oldest = e.Session
		r.hints++
	}
	r.reasons[e.Session] = hint{e.Lane, e.Reason}
}

func (r *recent) add(e *stats.Event) {
	at := &r.rows[r.next%maxRecent]
	delete(r.sessions, at.session)
	r.sessions[e.Session] = r.next
	r.next++
	*at = row{
		session: e.Session, at: e.Time, Time: e.Time.UnixMilli(), Local: Class(e.LocalNAT), Remote: Class(e.RemoteNAT),
		Latency: milliseconds(e.Latency), Tries: e.Tries, Group: e.Group, Lane: e.Lane, Reason: e.Reason,
	}
	at.describe(e)
	switch {
	case e.Status == stats.StatusSuccess && e.Pair == stats.PairRelay:
		at.Outcome = "relayed"
	case e.Status == stats.StatusSuccess:
		at.Outcome = "direct"
	case e.Status == stats.StatusCancelled:
		at.Outcome = "cancelled"
	case e.Tries == 0:
		at.Outcome = "unreached"
	default:
		at.Outcome = "failed"
	}
	at.explain(r.reasons[e.Session])
	delete(r.reasons, e.Session)
}

func (at *row) describe(e *stats.Event) {
	at.Pair, at.Proto, at.Version = e.Pair.String(), e.Protocol.String(), e.IPVersion
}

// explain says why an attempt has no direct path, or by which lane it got one.
func (at *row) explain(h hint) {
	if at.Lane == "" {
		at.Lane = h.lane
	}
	if h.reason != "" && at.Outcome != "direct" && (at.Reason == "" || at.Reason == "no_path") {
		at.Reason = h.reason
	}
}

// each calls a function with each attempt to show that is not older than so, by its number:
// the latest, and the latest of those that are not direct and of which it is known why.
func (r *recent) each(since time.Time, show func(key string, row row)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, stuck := 0, 0
	for back := uint64(1); back <= min(r.next, maxRecent) && (all < maxShown || stuck < maxShown); back++ {
		at := r.rows[(r.next-back)%maxRecent]
		if at.at.Before(since) {
			continue
		}
		explained := at.Outcome != "direct" && at.Outcome != "cancelled" && at.Reason != ""
		if all < maxShown || explained && stuck < maxShown {
			show(strconv.FormatUint(r.next-back, 10), at)
		}
		all++
		if explained {
			stuck++
		}
	}
}

// milliseconds has one decimal.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(100*time.Microsecond)/(100*time.Microsecond)) / 10
}
