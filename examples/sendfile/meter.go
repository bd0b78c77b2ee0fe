package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// meter shows on a terminal what goes on, once that has taken a second, and how far it is.
// What is written to it is counted.
type meter struct {
	w    io.Writer
	wg   sync.WaitGroup
	quit chan struct{} // nil: nobody watches

	mu    sync.Mutex
	what  string
	began time.Time
	from  int64 // bytes that were there when it began
	done  int64
	size  int64 // 0: it is not known
	shown bool
}

// newMeter starts a meter that writes to w, if that is a terminal. Close it.
func newMeter(w io.Writer) *meter {
	m := &meter{w: w, began: time.Now()}
	if !cli.IsTerminal(w) {
		return m
	}
	m.quit = make(chan struct{})
	m.wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				m.show(now)
			case <-m.quit:
				return
			}
		}
	})
	return m
}

// start says what goes on from now on, and that done bytes of size are there.
func (m *meter) start(what string, done, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.what, m.began, m.from, m.done, m.size = what, time.Now(), done, done, size
}

// Write counts.
func (m *meter) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += int64(len(b))
	return len(b), nil
}

func (m *meter) show(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text := m.text(now); text != "" {
		fmt.Fprintf(m.w, "\r\x1b[K%s", text)
		m.shown = true
	}
}

// text is the line; "" while it is too early for one.
func (m *meter) text(now time.Time) string {
	took := now.Sub(m.began)
	if m.what == "" || took < time.Second {
		return ""
	}
	if m.size == 0 {
		return fmt.Sprintf("%s, %d s", m.what, int(took.Seconds()))
	}
	return fmt.Sprintf("%s, %d of %d bytes (%d %%), %.1f MB/s", m.what, m.done, m.size, 100*m.done/m.size, float64(m.done-m.from)/took.Seconds()/1e6)
}

// close takes the line away.
func (m *meter) close() {
	if m.quit == nil {
		return
	}
	close(m.quit)
	m.wg.Wait()
	if m.shown {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
