package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Colours of a terminal.
const (
	plain  = "\x1b[0m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// paint is a cell's colour; "" where it says nothing.
func (c cell) paint() string {
	switch {
	case c.runs == 0:
		return ""
	case c.direct == c.runs:
		return green
	case c.direct == 0:
		return red
	}
	return yellow
}

// text is the table for a terminal: each pair in one line with all that was measured, why
// those are relayed that are, and, as what stays on the screen, the square.
func (t table) text(colour bool) string {
	var b strings.Builder
	t.list(&b, colour)
	t.reasons(&b)
	fmt.Fprintf(&b, "%s\n\n", t.caption())
	t.square(&b, colour)
	if legend := t.legend(); legend != "" {
		fmt.Fprintf(&b, "\n%s\n", legend)
	}
	return b.String()
}

// square writes the rows, each of two lines; the columns have the rows' numbers.
func (t table) square(b *strings.Builder, colour bool) {
	const column = 7
	first := widest(t.nats) + 4
	b.WriteString(strings.Repeat(" ", first))
	for j := range t.nats {
		b.WriteString(padLeft(fmt.Sprint(j+1), column))
	}
	b.WriteByte('\n')
	for i, name := range t.nats {
		upper := padRight(fmt.Sprintf("%2d  %s", i+1, name), first)
		lower := strings.Repeat(" ", first)
		for j := range t.nats {
			c := t.at(i, j)
			upper += tint(padLeft(c.big(), column), c.paint(), colour)
			lower += padLeft(c.small(), column)
		}
		fmt.Fprintf(b, "%s\n", upper)
		if lower = strings.TrimRight(lower, " "); lower != "" {
			fmt.Fprintf(b, "%s\n", lower)
		}
	}
}

// list writes a line for each pair.
func (t table) list(b *strings.Builder, colour bool) {
	pairs, ways := []string{"pair"}, []string{"by"}
	for i := range t.nats {
		for j := i; j < len(t.nats); j++ {
			pairs, ways = append(pairs, t.nats[i]+" × "+t.nats[j]), append(ways, t.at(i, j).by())
		}
	}
	pair, by := widest(pairs), widest(ways)
	fmt.Fprintf(b, "%s  %s  %s  %s  %s  %s\n", padRight("pair", pair), padLeft("direct", 8), padRight("by", by),
		padLeft("usable", 7), padLeft("direct", 7), padLeft("packets", 13))
	n := 0
	for i := range t.nats {
		for j := i; j < len(t.nats); j++ {
			c := t.at(i, j)
			if n++; c.runs == 0 {
				continue
			}
			share := fmt.Sprintf("%d of %d", c.direct, c.runs)
			fmt.Fprintf(b, "%s  %s  %s  %s  %s  %s\n", padRight(pairs[n], pair), tint(padLeft(share, 8), c.paint(), colour), padRight(ways[n], by),
				padLeft(seconds(c.after), 7), padLeft(seconds(c.straight), 7), padLeft(fmt.Sprintf("%d + %d", c.packets[0], c.packets[1]), 13))
		}
	}
	b.WriteString("\nTimes are medians from the dial on, packets what each side sent until the connection was direct or was given up for relayed.\n\n")
}

var digits = regexp.MustCompile(`\d+`)

// reasons writes why pairs are not direct; what differs in figures alone is one reason.
func (t table) reasons(b *strings.Builder) {
	var texts []string
	about := make(map[string][]string)
	for i := range t.nats {
		for j := i; j < len(t.nats); j++ {
			why := t.at(i, j).why
			if why == "" {
				continue
			}
			key := digits.ReplaceAllString(why, "0")
			if about[key] == nil {
				texts = append(texts, why)
			}
			about[key] = append(about[key], t.nats[i]+" × "+t.nats[j])
		}
	}
	if len(texts) == 0 {
		return
	}
	b.WriteString("Why not direct, as the sessions explain it:\n")
	for _, why := range texts {
		fmt.Fprintf(b, "  %s\n    %s\n", strings.Join(about[digits.ReplaceAllString(why, "0")], "; "), why)
	}
	b.WriteByte('\n')
}

// by is what the cell's connections go by.
func (c cell) by() string {
	all := c.ways
	if c.usable > c.direct {
		all = append(all[:len(all):len(all)], "relay")
	}
	if c.usable < c.runs {
		all = append(all[:len(all):len(all)], "none")
	}
	return strings.Join(all, ", ")
}

func tint(text, paint string, colour bool) string {
	if !colour || paint == "" {
		return text
	}
	return paint + text + plain
}

func widest(all []string) int {
	most := 0
	for _, s := range all {
		most = max(most, utf8.RuneCountInString(s))
	}
	return most
}

func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) + s
}

func padRight(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
