package main

import (
	"fmt"
	"strings"
)

// markdown is the table for a README: the square, what it means, and what made it.
func (t table) markdown() string {
	var b strings.Builder
	b.WriteString("| |")
	for _, name := range t.nats {
		fmt.Fprintf(&b, " %s |", name)
	}
	b.WriteString("\n|---|" + strings.Repeat(":-:|", len(t.nats)) + "\n")
	for i, name := range t.nats {
		fmt.Fprintf(&b, "| **%s** |", name)
		for j := range t.nats {
			fmt.Fprintf(&b, " %s |", t.at(i, j).lines("<br>"))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%s", t.caption())
	if legend := t.legend(); legend != "" {
		b.WriteString(" " + legend)
	}
	fmt.Fprintf(&b, " Made by `%s`.\n", t.command)
	return b.String()
}

// lines are what a cell says, one below the other.
func (c cell) lines(between string) string {
	all := []string{c.big()}
	for _, s := range []string{c.small(), c.way()} {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, between)
}
