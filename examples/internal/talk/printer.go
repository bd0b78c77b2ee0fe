package talk

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer writes lines from several goroutines, each with the time since it was made and
// with who says it.
type Printer struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

// NewPrinter returns a Printer that writes to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w, start: time.Now()} }

// Line writes a line, unless there is nothing to say.
func (p *Printer) Line(who, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%6.3f s  %-5s  %s\n", time.Since(p.start).Seconds(), who, text)
}
