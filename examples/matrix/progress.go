package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// progress tells how far the measurement is: by a bar on a terminal, else by a line now and
// then. One goroutine uses it.
type progress struct {
	w        io.Writer
	terminal bool
	total    int
	parallel int

	done  int
	took  time.Duration // what the done ones took, together
	began time.Time
	told  time.Time // when something was last shown
}

const (
	redraw    = 500 * time.Millisecond // of the bar
	lineEvery = 10 * time.Second       // where there is none
)

func newProgress(w io.Writer, total, parallel int, now time.Time) *progress {
	return &progress{w: w, terminal: cli.IsTerminal(w), total: total, parallel: parallel, began: now, told: now}
}

// step takes in that one more is done.
func (p *progress) step(now time.Time, took time.Duration) {
	p.done++
	p.took += took
	if p.terminal {
		p.show(now)
	}
}

// tick shows what there is to show at a time.
func (p *progress) tick(now time.Time) {
	every := lineEvery
	if p.terminal {
		every = redraw
	}
	if now.Sub(p.told) >= every && p.done < p.total {
		p.show(now)
	}
}

func (p *progress) show(now time.Time) {
	p.told = now
	text := p.text(now)
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s %s", drawn(p.done, p.total, 30), text)
		return
	}
	fmt.Fprintln(p.w, text)
}

// say prints a line, above the bar if there is one.
func (p *progress) say(line string) {
	p.clear()
	fmt.Fprintln(p.w, line)
}

// clear takes the bar away.
func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// text is how far it is, in words.
func (p *progress) text(now time.Time) string {
	text := fmt.Sprintf("%d of %d connections after %v", p.done, p.total, now.Sub(p.began).Round(time.Second))
	if p.done > 0 && p.done < p.total {
		text += fmt.Sprintf(", about %v to go", p.left().Round(time.Second))
	}
	return text
}

// left is the time that the rest takes, as far as what is done tells.
func (p *progress) left() time.Duration {
	each := p.took / time.Duration(max(p.done, 1))
	rest := p.total - p.done
	return max(time.Duration(rest)*each/time.Duration(min(p.parallel, max(rest, 1))), time.Second)
}

// drawn is a bar that is done/total full.
func drawn(done, total, width int) string {
	full := width * done / max(total, 1)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}
