package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestBar(t *testing.T) {
	for want, c := range map[string][2]int{"[....]": {0, 7}, "[##..]": {4, 7}, "[####]": {7, 7}} {
		if got := drawn(c[0], c[1], 4); got != want {
			t.Errorf("%v: %q, want %q", c, got, want)
		}
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 4, 2, noon)
	p.terminal = true
	p.step(noon.Add(2*time.Second), 2*time.Second)
	p.say("a line")
	p.tick(noon.Add(2*time.Second + redraw))
	for i := range 3 {
		p.step(noon.Add(time.Duration(4+i)*time.Second), 2*time.Second)
	}
	p.clear()
	const begin = "\r\x1b[K"
	want := begin + "[#######.......................] 1 of 4 connections after 2s, about 3s to go" +
		begin + "a line\n" + begin + "[#######.......................] 1 of 4 connections after 3s, about 3s to go"
	if !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "] 4 of 4 connections after 6s"+begin) {
		t.Errorf("%q", out.String())
	}
}

// Without a terminal there is a line now and then, and nothing that moves a cursor.
func TestProgressInALog(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 100, 10, noon)
	for i := range 60 {
		p.step(noon.Add(time.Duration(i)*time.Second), time.Second)
		p.tick(noon.Add(time.Duration(i) * time.Second))
	}
	p.clear()
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 5 || lines[0] != "11 of 100 connections after 10s, about 9s to go" {
		t.Errorf("%q", lines)
	}
}

// The rest does not run in more places than it has connections.
func TestLeft(t *testing.T) {
	p := progress{total: 10, parallel: 8, done: 8, took: 80 * time.Second}
	if got := p.left(); got != 10*time.Second {
		t.Error(got)
	}
}
