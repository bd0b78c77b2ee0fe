package main

import (
	"fmt"
	"html/template"
	"slices"
	"strings"

	"github.com/bradawl/bradawl/natprobe"
)

// Sizes of the pictures on cards, and where the wall stands in them.
const (
	cardWide, cardHigh = 360, 216
	wallAt             = 138.0
	selfAt             = 34.0
)

// maxDestinations is how many are drawn: two addresses, and two ports of one of them.
const maxDestinations = 3

// destinations finds what several servers saw of the socket that the mapping was read from.
func destinations(r *natprobe.Report) (shown []natprobe.Observation, more int) {
	socket := -1
	for _, o := range r.Observations {
		if !o.Mapped.IsValid() || !strings.HasPrefix(o.Asked, "plain") {
			continue
		}
		if socket < 0 && o.Mapped == r.Mapped {
			socket = o.Socket
		}
		same := func(d natprobe.Observation) bool { return d.To == o.To }
		switch {
		case socket < 0 || o.Socket != socket || slices.ContainsFunc(shown, same):
		case len(shown) == maxDestinations:
			more++
		default:
			shown = append(shown, o)
		}
	}
	return shown, more
}

// relation says in what a destination differs from those before it.
func relation(shown []natprobe.Observation, i int) string {
	if i == 0 {
		return "first destination"
	}
	for _, d := range shown[:i] {
		if d.To.Addr() == shown[i].To.Addr() {
			return "same address, another port"
		}
	}
	return "another address"
}

// row is the middle of one of n rows over a card.
func row(i, n int) float64 { return 34 + 164*(float64(i)+.5)/float64(n) }

// mappingPicture draws one socket of this host, the outside ports it has, and who sees which.
func mappingPicture(r *natprobe.Report, id string) template.HTML {
	var d drawing
	shown, more := destinations(r)
	head(&d, "this socket", "outside port", "seen by")
	if len(shown) == 0 {
		wall(&d, r)
		d.line("link unknown", selfAt+14, row(0, 1), 330, row(0, 1))
		d.mark(unknown, wallAt, row(0, 1))
		self(&d, row(0, 1))
		return d.done(id, cardWide, cardHigh, "Mapping", "No server told where it sees the socket come from.")
	}
	// A hole for each outside address, in the middle of those who see it.
	var holes []natprobe.Observation
	var ys []float64
	for i, s := range shown {
		if slices.ContainsFunc(holes, func(h natprobe.Observation) bool { return h.Mapped == s.Mapped }) {
			continue
		}
		sum, n := 0.0, 0
		for j, t := range shown[i:] {
			if t.Mapped == s.Mapped {
				sum, n = sum+row(i+j, len(shown)), n+1
			}
		}
		holes, ys = append(holes, s), append(ys, sum/float64(n))
	}
	wall(&d, r)
	middle := row(0, 1)
	words := []string{fmt.Sprintf("The socket %v", shown[0].Local)}
	for i, s := range shown {
		y := row(i, len(shown))
		h := slices.IndexFunc(holes, func(h natprobe.Observation) bool { return h.Mapped == s.Mapped })
		d.add(`<path class="link good" d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f"/>`, wallAt, ys[h], wallAt+62, ys[h], wallAt+34, y, wallAt+84, y)
		d.line("link good", wallAt+84, y, 338, y)
		d.add(`<circle class="dot" cx="344" cy="%.1f" r="5"/>`, y)
		d.text("addr", "end", 350, y-10, fit(s.To.String(), 25))
		d.text("hint", "end", 336, y+17, relation(shown, i))
		words = append(words, fmt.Sprintf("%v (%s) sees it as %v", s.To, relation(shown, i), s.Mapped))
	}
	for i, h := range holes {
		d.add(`<path class="link good" d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f"/>`, selfAt+14, middle, selfAt+50, middle, wallAt-66, ys[i], wallAt-29, ys[i])
		d.pill("hole", wallAt, ys[i], fmt.Sprint(h.Mapped.Port()))
		if h.Mapped.Addr() != r.Mapped.Addr() { // not the one that the way out shows
			d.text("hint", "middle", wallAt, ys[i]+25, fit(h.Mapped.Addr().String(), 17))
		}
	}
	self(&d, middle)
	text := strings.Join(words, "; ") + "."
	if more > 0 {
		text += fmt.Sprintf(" %d more are in the table of all transactions.", more)
	}
	return d.done(id, cardWide, cardHigh, "Mapping", text)
}

// head names the columns of a card.
func head(d *drawing, left, middle, right string) {
	d.text("hint", "start", 6, 16, left)
	d.text("hint", "middle", wallAt, 16, middle)
	d.text("hint", "end", 350, 16, right)
}

// wall is the NAT or firewall; where there is none, only its place.
func wall(d *drawing, r *natprobe.Report) {
	class := "wall"
	switch {
	case r.NAT == natprobe.No && r.Filtering == natprobe.FilteringEndpointIndependent:
		class = "wall none"
	case r.NAT == natprobe.VerdictUnknown:
		class = "wall unsure"
	}
	d.rect(class, wallAt-7, 26, 14, 184, 4)
}

// self is this host.
func self(d *drawing, y float64) {
	d.add(`<circle class="self" cx="%.1f" cy="%.1f" r="14"/>`, selfAt, y)
	d.b.WriteString(fmt.Sprintf(`<g class="lines bright" transform="translate(%.1f %.1f) scale(.42)">%s</g>`+"\n", selfAt-10, y-10, icons["host"]))
}

// sender is one who sends to the outside port without or after having been sent to.
type sender struct {
	name, counts string
	in           state
}

// senders says who is let in.
func senders(r *natprobe.Report) []sender {
	all := []sender{{name: "whom it has sent to", in: unknown}, {name: "same address, another port", in: unknown}, {name: "a stranger's address", in: unknown}}
	if r.Mapped.IsValid() {
		all[0].in = good
	}
	judge := func(in bool) state {
		if in {
			return good
		}
		return bad
	}
	if f := r.Filtering; f != natprobe.FilteringUnknown {
		all[1].in = judge(f != natprobe.FilteringAddressAndPortDependent)
		all[2].in = judge(f == natprobe.FilteringEndpointIndependent)
	}
	for _, o := range r.Observations {
		i := 0
		switch o.Asked {
		case "control":
		case "answer from other port":
			i = 1
		case "answer from other IP and port":
			i = 2
		default:
			continue
		}
		came := "none came in"
		if o.Replies > 0 || o.Mapped.IsValid() {
			came = fmt.Sprintf("%d came in", max(o.Replies, 1))
		}
		if all[i].counts == "" {
			all[i].counts = fmt.Sprintf("%d sent, %s", o.Sent, came)
		}
	}
	return all
}

var inWords = map[state]string{good: "let in", bad: "kept out", unknown: "not known"}

// filteringPicture draws who may send to an outside port, and who may not.
func filteringPicture(r *natprobe.Report, id string) template.HTML {
	var d drawing
	head(&d, "this socket", "the way in", "packets from")
	wall(&d, r)
	middle := row(0, 1)
	var words []string
	for i, s := range senders(r) {
		y := row(i, 3)
		switch s.in {
		case good:
			d.line("link good", wallAt, y, 344, y)
			d.add(`<path class="link good arrow" d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f"/>`, wallAt, y, wallAt-48, y, selfAt+52, middle, selfAt+20, middle)
		default:
			d.line("link "+string(s.in), wallAt+18, y, 344, y)
		}
		d.mark(s.in, wallAt, y)
		d.text("label", "end", 350, y-9, s.name)
		said := inWords[s.in]
		if s.counts != "" {
			said = s.counts
		}
		d.text("hint", "end", 344, y+18, said)
		words = append(words, fmt.Sprintf("%s: %s", s.name, inWords[s.in]))
		if s.counts != "" {
			words[i] += " (" + s.counts + ")"
		}
	}
	self(&d, middle)
	return d.done(id, cardWide, cardHigh, "Filtering", "Who may send to an outside port. "+strings.Join(words, "; ")+".")
}
