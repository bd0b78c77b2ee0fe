package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Sizes of the picture, in pixels.
const (
	cellWide   = 78
	cellHigh   = 50
	nameWide   = 176 // of the rows' names
	nameHigh   = 132 // of the columns', which are aslant
	marginWide = 16
	marginHigh = 56 // with the title
	overhang   = 84 // of the last column's name
	footLine   = 18
	footWidth  = 7 // of a letter in the foot, roughly
)

// style has both the light colours and the dark ones. The ground is painted, so that the
// picture can be read where its surroundings are of the other kind. The scale goes from
// orange to blue, which nearly everybody can tell apart, and each cell has its number.
const style = `
  svg { color-scheme: light dark; }
  text { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .big { font-weight: 600; text-anchor: middle; }
  .small { font-size: 11px; text-anchor: middle; }
  .row { text-anchor: end; }
  .foot { font-size: 12px; fill: #57606a; }
  .ground { fill: #ffffff; }
  .cell { stroke: #ffffff; stroke-width: 2; }
  .h0 { fill: #f5b48f; } .h1 { fill: #fbdcc4; } .h2 { fill: #d3e5f5; } .h3 { fill: #93c5ea; } .hx { fill: #eaeef2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .foot { fill: #9198a1; }
    .ground { fill: #0d1117; }
    .cell { stroke: #0d1117; }
    .h0 { fill: #8a3d14; } .h1 { fill: #5f3a24; } .h2 { fill: #1d3e5a; } .h3 { fill: #14598f; } .hx { fill: #21262d; }
  }
`

// heat is the class of a cell's colour.
func (c cell) heat() string {
	switch {
	case c.runs == 0:
		return "hx"
	case c.direct == 0:
		return "h0"
	case c.direct == c.runs:
		return "h3"
	case c.share() < 0.5:
		return "h1"
	}
	return "h2"
}

// svg is the table as a picture.
func (t table) svg() string {
	n := len(t.nats)
	left, top := marginWide+nameWide, marginHigh+nameHigh
	width := max(left+n*cellWide+overhang, 640)
	foot := wrap(t.caption()+" "+t.legend(), (width-2*marginWide)/footWidth)
	foot = append(foot, wrap("Made by "+t.command, (width-2*marginWide)/footWidth)...)
	keys := top + n*cellHigh + 22
	height := keys + 40 + footLine*len(foot)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="matrix-title matrix-desc">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"matrix-title\">%s</title>\n<desc id=\"matrix-desc\">%s</desc>\n<style>%s</style>\n", escape(pictureTitle), escape(t.described()), style)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", width, height)
	label(&b, "title", marginWide, 32, "", pictureTitle)
	for j, name := range t.nats {
		x, y := left+j*cellWide+cellWide/2, top-10
		label(&b, "column", x, y, fmt.Sprintf(` transform="rotate(-40 %d %d)"`, x, y), name)
	}
	for i, name := range t.nats {
		label(&b, "row", left-10, top+i*cellHigh+cellHigh/2+4, "", name)
		for j := range t.nats {
			t.draw(&b, i, j, left+j*cellWide, top+i*cellHigh)
		}
	}
	x := marginWide
	for _, k := range []struct{ class, text string }{{"h3", "all direct"}, {"h2", "half or more"}, {"h1", "less than half"}, {"h0", "none direct"}} {
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="18" height="14"/>`+"\n", k.class, x, keys-12)
		label(&b, "foot", x+24, keys, "", k.text)
		x += 24 + 9*len(k.text)
	}
	for i, line := range foot {
		label(&b, "foot", marginWide, keys+30+footLine*i, "", line)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

const pictureTitle = "Which NATs get a direct path to each other"

// draw draws a cell, with a title that shows up where a mouse points.
func (t table) draw(b *strings.Builder, row, column, x, y int) {
	c := t.at(row, column)
	fmt.Fprintf(b, "<g><title>%s</title>", escape(t.sentence(row, column)))
	fmt.Fprintf(b, `<rect class="cell %s" x="%d" y="%d" width="%d" height="%d" rx="4"/>`, c.heat(), x, y, cellWide, cellHigh)
	lines := []string{c.small(), c.way()}
	y += cellHigh/2 - 10
	if lines[0] == "" || lines[1] == "" {
		y += 8
	}
	label(b, "big", x+cellWide/2, y, "", c.big())
	for _, s := range lines {
		if s != "" {
			y += 15
			label(b, "small", x+cellWide/2, y, "", s)
		}
	}
	b.WriteString("</g>\n")
}

// label writes a text.
func label(b *strings.Builder, class string, x, y int, more, text string) {
	fmt.Fprintf(b, `<text class="%s" x="%d" y="%d"%s>%s</text>`+"\n", class, x, y, more, escape(text))
}

// described is the picture for those who do not see it.
func (t table) described() string {
	var some, none, missing []string
	for i := range t.nats {
		for j := i; j < len(t.nats); j++ {
			switch c := t.at(i, j); {
			case c.runs == 0:
				missing = append(missing, t.nats[i]+" and "+t.nats[j])
			case c.direct == 0:
				none = append(none, t.nats[i]+" and "+t.nats[j])
			case c.direct < c.runs:
				some = append(some, fmt.Sprintf("%s and %s (%d %%)", t.nats[i], t.nats[j], c.percent()))
			}
		}
	}
	text := t.caption() + " All pairs of " + strings.Join(t.nats, ", ") + " are direct"
	for i, l := range [][]string{some, none, missing} {
		if len(l) > 0 {
			text += [...]string{"; but only sometimes: ", "; but not: ", "; not measured: "}[i] + strings.Join(l, ", ")
		}
	}
	return text + "."
}

// sentence is a cell in words.
func (t table) sentence(row, column int) string {
	c := t.at(row, column)
	text := t.nats[row] + " and " + t.nats[column] + ": "
	switch {
	case c.runs == 0:
		return text + "not measured"
	case c.direct > 0:
		text += fmt.Sprintf("%d of %d direct by %s after %s", c.direct, c.runs, strings.Join(c.ways, ", "), seconds(c.straight))
	case c.usable > 0:
		text += "relayed"
	default:
		return text + "not connected"
	}
	return text + fmt.Sprintf(", usable after %s, %d and %d packets", seconds(c.after), c.packets[0], c.packets[1])
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

// wrap breaks text into lines of at most so many letters, but for words that are longer.
func wrap(text string, width int) []string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= width {
			lines[n-1] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}
