package main

import (
	"fmt"
	"html/template"
	"iter"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// made is one mapping: the port inside and the one that the NAT gave to it.
type made struct{ local, outside uint16 }

// maxMade is how many mappings are drawn.
const maxMade = 64

// mappings lists the mappings in the order in which they were asked for. A socket that is
// seen at another address has another one.
func mappings(r *natprobe.Report) []made {
	var all []made
	type key struct {
		socket int
		mapped netip.AddrPort
	}
	seen := make(map[key]bool)
	for _, o := range r.Observations {
		key := key{o.Socket, o.Mapped}
		plain := strings.HasPrefix(o.Asked, "plain") || o.Asked == "control"
		switch {
		case !plain || !o.Mapped.IsValid() || seen[key]:
			continue
		case len(all) == maxMade:
			return all
		}
		seen[key] = true
		all = append(all, made{o.Local.Port(), o.Mapped.Port()})
	}
	return all
}

// portScale is the part of all ports that is drawn.
func portScale(p natprobe.Ports, all []made) (low, high float64) {
	if p.Model == natprobe.PortsRandom {
		return 0, 65535
	}
	low, high = 65535, 0
	for _, m := range all {
		low, high = min(low, float64(m.outside)), max(high, float64(m.outside))
	}
	if p.Model == natprobe.PortsBlock {
		low, high = min(low, float64(p.Low)), max(high, float64(p.High))
	}
	pad := max(3, (high-low)/8)
	return max(0, low-pad), min(65535, high+pad)
}

// ticks are round numbers on the scale, two to six of them.
func ticks(low, high float64) iter.Seq[float64] {
	step := math.Pow(10, math.Floor(math.Log10(high-low)))
	switch n := (high - low) / step; {
	case n < 2:
		step /= 2
	case n >= 5:
		step *= 2
	}
	step = max(step, 1)
	return func(yield func(float64) bool) {
		for t := math.Ceil(low/step) * step; t <= high; t += step {
			if !yield(t) {
				return
			}
		}
	}
}

// portsPicture draws the ports that the NAT gave, in their order.
func portsPicture(r *natprobe.Report, id string) template.HTML {
	const left, right, top, bottom = 50.0, 346.0, 14.0, 176.0
	var d drawing
	all := mappings(r)
	d.text("hint", "end", right, 194, "mappings, in the order asked for →")
	d.line("axis", left, top, left, bottom)
	d.line("axis", left, bottom, right, bottom)
	if len(all) == 0 {
		d.mark(unknown, (left+right)/2, (top+bottom)/2)
		return d.done(id, cardWide, cardHigh, "Outside ports", "No mapping was seen.")
	}
	low, high := portScale(r.Ports, all)
	y := func(port float64) float64 { return bottom - (port-low)/(high-low)*(bottom-top) }
	x := func(i int) float64 { return left + (right-left)*(float64(i)+.5)/float64(len(all)) }
	for tick := range ticks(low, high) {
		d.line("grid", left, y(tick), right, y(tick))
		d.text("hint", "end", left-6, y(tick)+4, fmt.Sprintf("%.0f", tick))
	}
	if p := r.Ports; p.Model == natprobe.PortsBlock || p.Model == natprobe.PortsRandom {
		d.rect("band", left, y(float64(p.High)), right-left, max(0, y(float64(p.Low))-y(float64(p.High))), 0)
		d.rect("band", left, 198, 14, 12, 2)
		d.text("hint", "start", left+20, 208, fmt.Sprintf("%d to %d, as estimated", p.Low, p.High))
	}
	if r.Ports.Model == natprobe.PortsSequential {
		var path []string
		for i, m := range all {
			path = append(path, fmt.Sprintf("%.1f %.1f", x(i), y(float64(m.outside))))
		}
		d.add(`<path class="trend" d="M%s"/>`, strings.Join(path, "L"))
	}
	var words []string
	for i, m := range all {
		if m.local == m.outside && r.Ports.Model == natprobe.PortsPreserving {
			d.add(`<circle class="halo" cx="%.1f" cy="%.1f" r="8"/>`, x(i), y(float64(m.outside)))
		}
		d.add(`<circle class="dot" cx="%.1f" cy="%.1f" r="4.5"><title>%d became %d</title></circle>`, x(i), y(float64(m.outside)), m.local, m.outside)
		words = append(words, fmt.Sprintf("%d became %d", m.local, m.outside))
	}
	if r.Ports.Model == natprobe.PortsPreserving {
		d.add(`<circle class="halo" cx="%.1f" cy="204" r="5"/>`, left+8)
		d.text("hint", "start", left+20, 208, "ring: the inside port was kept")
	}
	return d.done(id, cardWide, cardHigh, "Outside ports", "Inside ports and what became of them outside, in order: "+strings.Join(words, ", ")+".")
}

// portsWords is the model in plain words.
func portsWords(p natprobe.Ports) string {
	switch p.Model {
	case natprobe.PortsPreserving:
		return "The inside port is kept where it is free"
	case natprobe.PortsSequential:
		return fmt.Sprintf("One after the other, in steps of %+d", p.Delta)
	case natprobe.PortsBlock:
		return fmt.Sprintf("Any port of a block of about %d", int(p.High)-int(p.Low)+1)
	case natprobe.PortsRandom:
		return fmt.Sprintf("Any port from %d to %d", p.Low, p.High)
	}
	return "Not known"
}

// portsWhy is what the model was told from, and what else is known of the ports. The picture
// may have more mappings: those of sockets that have several.
func portsWhy(r *natprobe.Report) string {
	why := because(r, "ports")
	if _, ok := r.Conclusion("ports"); ok {
		why = "told from " + why
	}
	p := r.Ports
	if p.Model == natprobe.PortsSequential && p.Rate >= 0.05 {
		why += fmt.Sprintf("; others behind it make %.1f a second", p.Rate)
	}
	for _, v := range []struct {
		natprobe.Verdict
		yes, no string
	}{
		{p.Parity, "even ports stay even", "even ports may become odd"},
		{p.Contiguous, "neighbours stay neighbours", "neighbours are parted"},
		{p.Overloaded, "one outside port serves several hosts", ""},
	} {
		switch {
		case v.Verdict == natprobe.Yes:
			why += "; " + v.yes
		case v.Verdict == natprobe.No && v.no != "":
			why += "; " + v.no
		}
	}
	return why
}

// lifetimePicture draws how long a mapping lives that nothing goes through.
func lifetimePicture(l *natprobe.Lifetime, id string) template.HTML {
	const left, right, top, bottom = 14.0, 338.0, 20.0, 176.0
	const least = 2 * time.Minute // RFC 4787 REQ 5
	var d drawing
	spans := []struct {
		name string
		natprobe.Lifespan
	}{{"after packets out alone", l.Solitary}, {"after an answer", l.Answered}, {"after a stream both ways", l.Stream}}
	longest := least
	for _, s := range spans {
		longest = max(longest, s.Low, s.High)
	}
	x := func(t time.Duration) float64 { return left + (right-left)*float64(t)/(float64(longest)*1.08) }
	d.line("axis", left, bottom, right, bottom)
	d.text("hint", "start", left, 194, "0 s")
	d.line("limit", x(least), top-6, x(least), bottom)
	d.text("hint", "middle", x(least), 194, "2 min")
	d.text("hint", "end", 352, 210, "dashed: the least that RFC 4787 wants")
	var words []string
	for i, s := range spans {
		y := top + 52*float64(i)
		d.text("label", "start", left, y+8, s.name+": "+s.Lifespan.String())
		switch {
		case s.Lifespan == (natprobe.Lifespan{}):
			d.mark(unknown, left+12, y+28)
		case s.High == 0:
			d.rect("bar", left, y+16, max(0, x(s.Low)-left), 18, 3)
			d.line("link unknown", x(s.Low), y+25, right, y+25)
		default:
			d.rect("bar", left, y+16, max(0, x(s.Low)-left), 18, 3)
			d.rect("maybe", x(s.Low), y+16, max(2, x(s.High)-x(s.Low)), 18, 3)
		}
		words = append(words, s.name+": "+s.Lifespan.String())
	}
	return d.done(id, cardWide, cardHigh, "Lifetime", "How long an idle mapping lives. "+strings.Join(words, "; ")+".")
}
