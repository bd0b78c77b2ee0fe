package sqlstore

import (
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Config is what a [Store] keeps and how. The zero value keeps events and a history in
// SQLite.
type Config struct {
	// Dialect is what the database speaks. Default SQLite.
	Dialect Dialect

	// Recorder is given every event that is recorded, and its panes are kept, with the late
	// events of a day. Default nil: no panes.
	Recorder *stats.Recorder
	// Run names the Recorder among all that keep panes in the same database. One that was
	// given to a store before, or that goes on from the state of such a one
	// (stats.RestoreState), must have the same again, and no other recorder may. Default: a
	// new one.
	Run stats.ID

	// HistorySecret is what names and addresses are hashed under, in at least 16 bytes, such
	// as Identity.Bytes: whoever has the database without it cannot tell where peers are, and
	// programs with different secrets have different histories. Default: a random one that is
	// kept in the database, in bradawl_meta: then it protects rows that are copied out of
	// there, and no more, and all who use the database share one history.
	HistorySecret []byte

	// NoWAL leaves the journal of a SQLite file as it is. Default false: a file whose journal
	// is SQLite's default is switched to write-ahead logging, and stays so. It must then not
	// be on a network's file system.
	NoWAL bool

	// BatchSize is how many events are written in one transaction. Default 500; from 1 to
	// 10,000.
	BatchSize int
	// FlushInterval is how long an event waits for others before it is written. Default 1 s;
	// from 10 ms to 1 h.
	FlushInterval time.Duration
	// SaveInterval is how often panes and the history are written, as far as they changed.
	// Default 10 s; from 100 ms to 1 min, for a recorder keeps its panes for some minutes.
	SaveInterval time.Duration

	// Queue is how many events wait to be written; those that find it full are dropped, and
	// counted. Default 8,192, some 2 MB; from BatchSize to 1,000,000.
	Queue int
	// PaneMemory is how many bytes of panes wait to be written; beyond it, and after a day,
	// the oldest are dropped, and counted. Default 16 MiB; from 64 KiB on.
	PaneMemory int

	// KeepEvents is how long events are kept after they were written, and KeepPanes how long
	// panes are, by the hour after two days. Default 30 days and 400 days; negative: for ever.
	KeepEvents, KeepPanes time.Duration

	// Timeout is how long one transaction may take. Default 10 s; from 100 ms to 1 min, for a
	// recorder keeps its panes for some minutes.
	Timeout time.Duration
	// CloseTimeout is how long Close tries to write what waits. Default 5 s; negative: not
	// at all.
	CloseTimeout time.Duration

	// OnError is told that the database failed, at most once in ErrorInterval, with how often
	// it did since. It is called by the goroutine that writes, which waits for it, so that it
	// must not call Flush or Close; and by Open if some of the history cannot be read. Default: nobody is; see Counts.
	OnError func(error)
	// ErrorInterval is the least time between two calls of OnError. Default 1 min.
	ErrorInterval time.Duration

	// Now is the clock that rows are dated by, and the Recorder's. Default time.Now.
	Now func() time.Time
}

const day = 24 * time.Hour

func (c Config) withDefaults() (Config, error) {
	number := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	duration := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	number(&c.BatchSize, 500)
	number(&c.Queue, max(8192, c.BatchSize))
	number(&c.PaneMemory, 16<<20)
	duration(&c.FlushInterval, time.Second)
	duration(&c.SaveInterval, 10*time.Second)
	duration(&c.KeepEvents, 30*day)
	duration(&c.KeepPanes, 400*day)
	duration(&c.Timeout, 10*time.Second)
	duration(&c.CloseTimeout, 5*time.Second)
	duration(&c.ErrorInterval, time.Minute)
	switch {
	case !c.Dialect.known():
		return c, badConfig("Dialect", "%d is none; use one of the constants of that type", c.Dialect)
	case c.HistorySecret != nil && len(c.HistorySecret) < 16:
		return c, badConfig("HistorySecret", "%d bytes can be guessed; give 16 or more, or none", len(c.HistorySecret))
	case c.BatchSize < 1 || c.BatchSize > 10_000:
		return c, badConfig("BatchSize", "%d is out of range; use 0 (500) or 1 to 10,000", c.BatchSize)
	case c.Queue < c.BatchSize || c.Queue > 1_000_000:
		return c, badConfig("Queue", "%d is out of range; use 0 (8,192) or from BatchSize, %d, to 1,000,000", c.Queue, c.BatchSize)
	case c.PaneMemory < 64<<10:
		return c, badConfig("PaneMemory", "%d bytes are too few; use 0 (16 MiB) or 64 KiB and more", c.PaneMemory)
	case c.FlushInterval < 10*time.Millisecond || c.FlushInterval > time.Hour:
		return c, badConfig("FlushInterval", "%v is out of range; use 0 (1 s) or 10 ms to 1 h", c.FlushInterval)
	case c.SaveInterval < 100*time.Millisecond || c.SaveInterval > time.Minute:
		return c, badConfig("SaveInterval", "%v is out of range; use 0 (10 s) or 100 ms to 1 min", c.SaveInterval)
	case c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute:
		return c, badConfig("Timeout", "%v is out of range; use 0 (10 s) or 100 ms to 1 min", c.Timeout)
	case c.ErrorInterval < 0:
		return c, badConfig("ErrorInterval", "%v is negative; use 0 (1 min) or more", c.ErrorInterval)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}
