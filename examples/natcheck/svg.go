package main

import (
	"fmt"
	"html"
	"html/template"
	"strings"
)

// drawing is an SVG picture in the making. Its colours are classes of the page's style, so
// that they follow it into the dark.
type drawing struct{ b strings.Builder }

// add writes markup; every string among the arguments is escaped on its way.
func (d *drawing) add(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = html.EscapeString(s)
		}
	}
	fmt.Fprintf(&d.b, format, args...)
	d.b.WriteByte('\n')
}

// text writes a line of text; anchor is "start", "middle" or "end".
func (d *drawing) text(class, anchor string, x, y float64, s string) {
	d.add(`<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, s)
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	d.add(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (d *drawing) rect(class string, x, y, w, h, round float64) {
	d.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="%.1f"/>`, class, x, y, w, h, round)
}

// pill writes a port into a hole of the wall, in the middle of which x and y are.
func (d *drawing) pill(class string, x, y float64, s string) {
	d.rect(class, x-29, y-13, 58, 26, 13)
	d.text("port", "middle", x, y+4.5, s)
}

// maxDesc is how many characters a picture's description has at most.
const maxDesc = 4000

// done is the picture with its title and what it shows in words, for those who do not see it.
func (d *drawing) done(id string, wide, high int, title, desc string) template.HTML {
	var out drawing
	out.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="%s-t %s-d">`, wide, high, id, id)
	out.add(`<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, title, id, cut(desc, maxDesc))
	return template.HTML(out.b.String() + d.b.String() + "</svg>")
}

// state is how well something is. Each has a shape of its own beside its colour.
type state string

// The states, which are classes of the style as well.
const (
	good    state = "good"
	partly  state = "partly"
	bad     state = "bad"
	unknown state = "unknown"
)

// mark draws the shape of a state: a round tick, a half moon, a square cross, a diamond with
// a question mark.
func (d *drawing) mark(s state, x, y float64) {
	d.b.WriteString(fmt.Sprintf(`<g class="mark %s" transform="translate(%.1f %.1f)">`, s, x, y))
	switch s {
	case good:
		d.b.WriteString(`<circle class="body" r="10"/><path class="sign" d="M-4.6 .4 -1.4 3.7 4.8 -3.4"/>`)
	case partly:
		d.b.WriteString(`<circle class="ring" r="9"/><path class="body" d="M0 -9A9 9 0 0 0 0 9Z"/>`)
	case bad:
		d.b.WriteString(`<rect class="body" x="-9.5" y="-9.5" width="19" height="19" rx="3"/><path class="sign" d="M-4 -4 4 4M4 -4-4 4"/>`)
	default:
		d.b.WriteString(`<path class="ring" d="M0 -11 11 0 0 11-11 0Z"/><text text-anchor="middle" y="4.5">?</text>`)
	}
	d.b.WriteString("</g>\n")
}

// badge is a mark by itself, beside words that say the same.
func badge(s state) template.HTML {
	var d drawing
	d.mark(s, 12, 12)
	return template.HTML(`<svg class="badge" viewBox="0 0 24 24" aria-hidden="true">` + d.b.String() + `</svg>`)
}

// fit takes the middle out of a text that is too long for its place in a picture; the tables
// have the whole.
func fit(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	head := (most - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(most-1-head):])
}
