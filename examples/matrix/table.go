package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// table is what was measured, pair by pair.
type table struct {
	nats    []string
	cells   map[[2]string]cell // the pairs in the order of nats
	runs    int
	loss    float64
	timeout time.Duration
	command string
}

// cell is what became of the connections between two kinds of NAT. The times and packets are
// medians of those that there are.
type cell struct {
	runs     int
	usable   int
	direct   int
	after    time.Duration // from the dial to the first path
	straight time.Duration // from the dial to the first direct path
	ways     []string      // of the direct ones, the most frequent first
	packets  [2]int
	why      string // the most frequent reason of those that are not direct
}

// share is how many of the connections became direct, 0 to 1.
func (c cell) share() float64 { return float64(c.direct) / float64(max(c.runs, 1)) }

// percent is that as a number, which is 0 and 100 only where it is exact.
func (c cell) percent() int {
	p := int(math.Round(100 * c.share()))
	switch {
	case c.direct > 0 && p == 0:
		return 1
	case c.direct < c.runs && p == 100:
		return 99
	}
	return p
}

// way is how the direct connections came about, for where there is little room: what is
// seldom needed before what usually does; "": all by UDP, as usual.
func (c cell) way() string {
	unusual := slices.DeleteFunc(slices.Clone(c.ways), func(w string) bool { return w == "udp" })
	switch len(unusual) {
	case 0:
		return ""
	case 1:
		return unusual[0]
	}
	return unusual[0] + ", …"
}

// at is the cell of a row and a column, whichever of the two was the first.
func (t table) at(row, column int) cell {
	if row <= column {
		return t.cells[[2]string{t.nats[row], t.nats[column]}]
	}
	c := t.cells[[2]string{t.nats[column], t.nats[row]}]
	c.packets[0], c.packets[1] = c.packets[1], c.packets[0]
	return c
}

// summarise makes the table of what was measured.
func summarise(o options, done []outcome) table {
	t := table{nats: o.nats, cells: make(map[[2]string]cell), runs: o.runs, loss: o.loss, timeout: o.timeout, command: o.command()}
	by := make(map[[2]string][]outcome)
	for _, r := range done {
		if r.err == nil {
			by[r.pair] = append(by[r.pair], r)
		}
	}
	for pair, all := range by {
		t.cells[pair] = cellOf(all)
	}
	return t
}

func cellOf(all []outcome) cell {
	c := cell{runs: len(all)}
	var after, straight []time.Duration
	var packets [2][]int
	var ways, whys []string
	for _, r := range all {
		if r.usable > 0 {
			after = append(after, r.usable)
		}
		if r.direct > 0 {
			straight = append(straight, r.direct)
			ways = append(ways, r.way)
		} else if r.why != "" {
			whys = append(whys, r.why)
		}
		for i, n := range r.packets {
			packets[i] = append(packets[i], n)
		}
	}
	c.usable, c.direct = len(after), len(straight)
	c.after, c.straight = median(after), median(straight)
	c.packets = [2]int{median(packets[0]), median(packets[1])}
	c.ways = frequent(ways)
	if l := frequent(whys); len(l) > 0 {
		c.why = l[0]
	}
	return c
}

// median is the middle one, or the mean of the two; 0 of none.
func median[T ~int | ~int64](all []T) T {
	if len(all) == 0 {
		return 0
	}
	l := slices.Sorted(slices.Values(all))
	return (l[len(l)/2] + l[(len(l)-1)/2]) / 2
}

// frequent is each of the words once, the most frequent first.
func frequent(words []string) []string {
	count := make(map[string]int)
	for _, w := range words {
		count[w]++
	}
	all := slices.Clone(words)
	slices.Sort(all)
	all = slices.Compact(all)
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(count[b], count[a]) })
	return all
}

// render is the table in one of the formats.
func (t table) render(format string, colour bool) string {
	switch format {
	case "markdown":
		return t.markdown()
	case "svg":
		return t.svg()
	case "json":
		return t.json()
	}
	return t.text(colour)
}

// big and small are what a cell says: how many are direct, and after how long; of those of
// which none is, after how long data goes by the relay.
func (c cell) big() string {
	switch {
	case c.runs == 0:
		return "–"
	case c.direct > 0:
		return fmt.Sprintf("%d %%", c.percent())
	case c.usable > 0:
		return "relay"
	}
	return "none"
}

func (c cell) small() string {
	switch {
	case c.direct > 0:
		return seconds(c.straight)
	case c.usable > 0:
		return seconds(c.after)
	}
	return ""
}

// seconds is a time in three digits.
func seconds(d time.Duration) string {
	switch s := d.Seconds(); {
	case d <= 0:
		return "–"
	case s < 9.995:
		return fmt.Sprintf("%.2f s", s)
	case s < 99.95:
		return fmt.Sprintf("%.1f s", s)
	default:
		return fmt.Sprintf("%.0f s", s)
	}
}

// caption says what the figures are.
func (t table) caption() string {
	text := "Share of the connections that became direct"
	if t.runs == 1 {
		text = "Whether the connection became direct"
	}
	text += fmt.Sprintf(" within %v s, and the median of the times from the dial until then; simulated, %d ms round trip", t.timeout.Seconds(), roundTrip.Milliseconds())
	if t.loss > 0 {
		text += fmt.Sprintf(", %.3g %% loss each way", 100*t.loss)
	}
	if t.runs > 1 {
		text += fmt.Sprintf(", %d connections for each pair", t.runs)
	}
	return text + "."
}

// aboutWays says what the words for ways are that a cell may name; there may be others.
var aboutWays = map[string]string{
	"tcp":           "direct over TCP",
	"mapped":        "a router mapped a port on request",
	"predicted":     "the next port of one NAT was foretold",
	"crossing":      "the next ports of both were foretold",
	"birthday":      "one side had many ports open, and the other found one of them",
	"blocks":        "both had many ports open, out of the few that their NATs give them",
	"tcp_predicted": "over TCP, the next port of one NAT was foretold",
}

// legend says what the words in the cells are.
func (t table) legend() string {
	var relay, none, missing, tcp bool
	var lanes []string
	for _, c := range t.cells {
		relay = relay || c.runs > 0 && c.direct == 0 && c.usable > 0
		none = none || c.runs > 0 && c.usable == 0
		for _, w := range c.ways {
			switch w {
			case "udp":
			case "tcp":
				tcp = true
			default:
				lanes = append(lanes, w)
			}
		}
	}
	for i := range t.nats {
		for j := range t.nats {
			missing = missing || t.at(i, j).runs == 0
		}
	}
	var parts []string
	add := func(needed bool, text string) {
		if needed {
			parts = append(parts, text)
		}
	}
	add(relay, "relay: by the TURN server alone, usable after the time given")
	add(none, "none: not connected")
	add(missing, "–: not measured")
	add(tcp, "tcp: "+aboutWays["tcp"])
	for _, lane := range slices.Compact(slices.Sorted(slices.Values(lanes))) {
		text := aboutWays[lane]
		if text == "" {
			text = "opened the way where plain checks do not get through"
		}
		add(true, lane+": "+text)
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "; ") + "."
}
