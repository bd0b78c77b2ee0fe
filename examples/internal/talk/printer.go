package talk

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer writes lines from several goroutines, each with the time since it was made and
// with who says it: as text, or as JSON.
type Printer struct {
	mu    sync.Mutex
	w     io.Writer
	json  bool
	start time.Time
}

// NewPrinter returns a Printer that writes to w.
func NewPrinter(w io.Writer, json bool) *Printer {
	return &Printer{w: w, json: json, start: time.Now()}
}

// record is a line in JSON.
type record struct {
	At   int64  `json:"at_ms"`
	Who  string `json:"who"`
	Text string `json:"text,omitempty"`
	*Event
}

// Line writes a line, unless there is nothing to say.
func (p *Printer) Line(who, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == "" {
		return
	}
	p.write(who, record{Text: text})
}

// Event writes an event, as text unless there is nothing to say.
func (p *Printer) Event(who string, e Event) {
	if text := e.Text(); p.json || text != "" {
		p.write(who, record{Text: text, Event: &e})
	}
}

func (p *Printer) write(who string, r record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Since(p.start)
	if !p.json {
		fmt.Fprintf(p.w, "%6.3f s  %-5s  %s\n", since.Seconds(), who, r.Text)
		return
	}
	r.At, r.Who = since.Milliseconds(), who
	if r.Event != nil {
		r.Text = ""
	}
	_ = json.NewEncoder(p.w).Encode(r) // who closed our output does not want it
}
