package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// sample is a table of everything that there can be: some direct, by several ways, some
// relayed, some not connected, some not measured.
func sample() table {
	o := defaults()
	o.nats, o.runs = []string{"open", "hard", "closed"}, 3
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	return summarise(o, []outcome{
		{job: job{pair: [2]string{"open", "open"}}, usable: ms(100), direct: ms(200), way: "udp", packets: [2]int{1, 10}},
		{job: job{pair: [2]string{"open", "open"}}, usable: ms(120), direct: ms(240), way: "udp", packets: [2]int{3, 30}},
		{job: job{pair: [2]string{"open", "open"}}, usable: ms(300), direct: ms(300), way: "udp", packets: [2]int{2, 20}},
		{job: job{pair: [2]string{"open", "hard"}}, usable: ms(100), direct: ms(1000), way: "birthday", packets: [2]int{5, 700}},
		{job: job{pair: [2]string{"open", "hard"}}, usable: ms(100), direct: ms(2000), way: "birthday", packets: [2]int{5, 700}},
		{job: job{pair: [2]string{"open", "hard"}}, usable: ms(100), packets: [2]int{5, 900}, why: "no luck <yet> at 17"},
		{job: job{pair: [2]string{"open", "closed"}}, usable: ms(200), direct: ms(20000), way: "tcp", packets: [2]int{4, 4}},
		{job: job{pair: [2]string{"hard", "hard"}}, usable: ms(150), packets: [2]int{8, 9}, why: "no luck <yet> at 4"},
		{job: job{pair: [2]string{"hard", "closed"}}, packets: [2]int{1, 0}, why: "silence"},
		{job: job{pair: [2]string{"closed", "closed"}}, err: errors.New("no world")},
	})
}

func TestCells(t *testing.T) {
	s := sample()
	c := s.at(0, 0)
	if c.runs != 3 || c.percent() != 100 || c.after != 120*time.Millisecond || c.straight != 240*time.Millisecond || c.packets != [2]int{2, 20} || c.way() != "" {
		t.Errorf("%+v", c)
	}
	if c = s.at(0, 1); c.percent() != 67 || c.straight != 1500*time.Millisecond || c.way() != "birthday" || c.packets != [2]int{5, 700} {
		t.Errorf("%+v", c)
	}
	if c = s.at(1, 0); c.packets != [2]int{700, 5} || c.percent() != 67 {
		t.Errorf("seen from the other side: %+v", c)
	}
	if c = s.at(2, 2); c.runs != 0 || c.big() != "–" {
		t.Errorf("what could not be tried: %+v", c)
	}
	for want, ways := range map[string][]string{"": {"udp"}, "tcp": {"udp", "tcp"}, "birthday, …": {"birthday", "udp", "tcp"}} {
		if got := (cell{ways: ways}).way(); got != want {
			t.Errorf("%v in short: %q, want %q", ways, got, want)
		}
	}
	for _, c := range []struct {
		direct, runs, want int
	}{{0, 1000, 0}, {1, 1000, 1}, {999, 1000, 99}, {1000, 1000, 100}, {1, 3, 33}, {0, 0, 0}} {
		if got := (cell{direct: c.direct, runs: c.runs}).percent(); got != c.want {
			t.Errorf("%d of %d are %d %%, want %d", c.direct, c.runs, got, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "–", time.Millisecond: "0.00 s", 9994 * time.Millisecond: "9.99 s", 9996 * time.Millisecond: "10.0 s", 2 * time.Minute: "120 s",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

const wantText = `pair               direct  by                usable   direct        packets
open × open        3 of 3  udp               0.12 s   0.24 s         2 + 20
open × hard        2 of 3  birthday, relay   0.10 s   1.50 s        5 + 700
open × closed      1 of 1  tcp               0.20 s   20.0 s          4 + 4
hard × hard        0 of 1  relay             0.15 s        –          8 + 9
hard × closed      0 of 1  none                   –        –          1 + 0

Times are medians from the dial on, packets what each side sent until the connection was direct or was given up for relayed.

Why not direct, as the sessions explain it:
  open × hard; hard × hard
    no luck <yet> at 17
  hard × closed
    silence

Share of the connections that became direct within 10 s, and the median of the times from the dial until then; simulated, 80 ms round trip, 3 connections for each pair.

                1      2      3
 1  open    100 %   67 %  100 %
           0.24 s 1.50 s 20.0 s
 2  hard     67 %  relay   none
           1.50 s 0.15 s
 3  closed  100 %   none      –
           20.0 s

relay: by the TURN server alone, usable after the time given; none: not connected; –: not measured; tcp: direct over TCP; birthday: one side had many ports open, and the other found one of them.
`

func TestText(t *testing.T) {
	if got := sample().text(false); got != wantText {
		t.Errorf("got\n%s\nwant\n%s", got, wantText)
	}
	coloured := sample().text(true)
	for _, want := range []string{green + "  3 of 3" + plain, yellow + "   67 %" + plain, red + "  0 of 1" + plain, red + "  relay" + plain} {
		if !strings.Contains(coloured, want) {
			t.Errorf("no %q in %q", want, coloured)
		}
	}
	if got := strings.NewReplacer(plain, "", red, "", green, "", yellow, "").Replace(coloured); got != wantText {
		t.Errorf("colours change the text:\n%s", got)
	}
}

const wantMarkdown = `| | open | hard | closed |
|---|:-:|:-:|:-:|
| **open** | 100 %<br>0.24 s | 67 %<br>1.50 s<br>birthday | 100 %<br>20.0 s<br>tcp |
| **hard** | 67 %<br>1.50 s<br>birthday | relay<br>0.15 s | none |
| **closed** | 100 %<br>20.0 s<br>tcp | none | – |

Share of the connections that became direct within 10 s, and the median of the times from the dial until then; simulated, 80 ms round trip, 3 connections for each pair. ` +
	`relay: by the TURN server alone, usable after the time given; none: not connected; –: not measured; tcp: direct over TCP; ` +
	"birthday: one side had many ports open, and the other found one of them. Made by `go run ./examples/matrix -nats open,hard,closed`.\n"

func TestMarkdown(t *testing.T) {
	if got := sample().markdown(); got != wantMarkdown {
		t.Errorf("got\n%s\nwant\n%s", got, wantMarkdown)
	}
}

// The picture is XML, has a cell for each pair both ways, each with a title, and colours for
// both kinds of surroundings.
func TestSVG(t *testing.T) {
	picture := sample().svg()
	in := xml.NewDecoder(strings.NewReader(picture))
	elements := make(map[string]int)
	classes := make(map[string]int)
	var texts []string
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
			for _, a := range token.Attr {
				if a.Name.Local == "class" {
					classes[a.Value]++
				}
			}
		case xml.CharData:
			texts = append(texts, string(token))
		}
	}
	if elements["svg"] != 1 || elements["desc"] != 1 || elements["title"] != 1+9 {
		t.Errorf("elements: %v", elements)
	}
	for class, want := range map[string]int{"cell h3": 3, "cell h2": 2, "cell h0": 3, "cell hx": 1, "big": 9, "row": 3, "column": 3} {
		if classes[class] != want {
			t.Errorf("%d of class %q, want %d", classes[class], class, want)
		}
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{
		"67 %", "birthday", "open and hard: 2 of 3 direct by birthday after 1.50 s, usable after 0.10 s, 5 and 700 packets", "prefers-color-scheme: dark",
		"but only sometimes: open and hard (67 %); but not: hard and hard, hard and closed; not measured: closed and closed.",
		"Made by go run ./examples/matrix",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, picture)
		}
	}
}

// A way that is new has its place in the legend, too.
func TestLegend(t *testing.T) {
	s := table{nats: []string{"open"}, cells: map[[2]string]cell{{"open", "open"}: {runs: 1, usable: 1, direct: 1, ways: []string{"tunnel", "udp"}}}}
	if got, want := s.legend(), "tunnel: opened the way where plain checks do not get through."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEscape(t *testing.T) {
	if got := escape(`<a & "b">`); strings.ContainsAny(got, `<>"`) {
		t.Error(got)
	}
}

func TestWrap(t *testing.T) {
	got := strings.Join(wrap("one two  three incomprehensibilities four", 9), "|")
	if want := "one two|three|incomprehensibilities|four"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
