package main

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/bradawl/bradawl/natprobe"
)

// station is one of the things between this host and the internet.
type station struct {
	icon, name, line string
	unsure           bool  // it may not be there
	link             state // of the way to it from the one before
}

// stations lists what is known to lie on the way out, from here on.
func stations(r *natprobe.Report) []station {
	own := "own address not known"
	if a := r.Local; a.Addr().IsValid() && !a.Addr().IsUnspecified() {
		own = a.String()
	}
	seen := "address not known"
	if r.Mapped.IsValid() {
		seen = r.Mapped.String()
	}
	way := []station{{icon: "host", name: "This host", line: own}}
	add := func(s station) {
		if s.link == "" {
			s.link = good
		}
		way = append(way, s)
	}
	out := station{icon: "net", name: "Internet", line: "sees " + seen}
	switch {
	case !r.Mapped.IsValid() || r.NAT == natprobe.No:
	case r.Mapping != natprobe.MappingEndpointIndependent && r.Mapping != natprobe.MappingUnknown:
		seen = r.Mapped.Addr().String()
		out.line = "each destination sees another port"
	}
	_, told := r.Conclusion("nested")
	switch {
	case r.Type == natprobe.TypeUDPBlocked:
		add(station{icon: "wall", name: "Firewall", line: "drops UDP"})
		out.link, out.line = bad, "no answer by UDP"
	case !r.Mapped.IsValid():
		add(station{icon: "nat", name: "NAT or firewall", line: "not known", unsure: true, link: unknown})
		out.link, out.line = unknown, "no answer by UDP"
	case r.NAT == natprobe.Yes && r.Nested == natprobe.Yes:
		add(station{icon: "nat", name: "Home NAT", line: "not seen from outside"})
		add(station{icon: "carrier", name: "Second NAT (CGNAT)", line: "outside: " + seen})
	case r.NAT == natprobe.Yes && told && r.Nested == natprobe.VerdictUnknown:
		add(station{icon: "nat", name: "NAT", line: "outside: " + seen})
		add(station{icon: "carrier", name: "Second NAT?", line: "not known", unsure: true, link: unknown})
	case r.NAT == natprobe.Yes:
		add(station{icon: "nat", name: "NAT", line: "outside: " + seen})
	case r.NAT == natprobe.VerdictUnknown:
		add(station{icon: "nat", name: "NAT?", line: "not known", unsure: true, link: unknown})
	case r.Filtering == natprobe.FilteringUnknown:
		add(station{icon: "wall", name: "Firewall?", line: "not known", unsure: true, link: unknown})
	case r.Filtering != natprobe.FilteringEndpointIndependent:
		add(station{icon: "wall", name: "Firewall", line: "lets answers in"})
	}
	add(out)
	return way
}

// icons are drawn in a square of 48.
var icons = map[string]string{
	"host":    `<rect x="9" y="11" width="30" height="20" rx="2.5"/><path d="M4 37h40M20 31l-1 6M28 31l1 6"/>`,
	"nat":     `<rect x="6" y="26" width="36" height="13" rx="3"/><path d="M14 26V13M34 26V13M19 17a7 7 0 0 1 10 0M12 32.5h.1M18 32.5h.1M28 32.5h8"/>`,
	"carrier": `<path d="M24 12 13 41M24 12 35 41M17.5 29h13M15 36h18M20.5 21h7M17 8a9 9 0 0 0 0 8M31 8a9 9 0 0 1 0 8M12 5a15 15 0 0 0 0 14M36 5a15 15 0 0 1 0 14"/>`,
	"wall":    `<rect x="6" y="10" width="36" height="29" rx="2"/><path d="M6 19.7h36M6 29.4h36M18 10v9.7M30 10v9.7M12 19.7v9.7M24 19.7v9.7M36 19.7v9.7M18 29.4V39M30 29.4V39"/>`,
	"net":     `<circle cx="24" cy="24" r="18"/><path d="M6 24h36M24 6c-11 11-11 25 0 36M24 6c11 11 11 25 0 36M9 14.5c9 4 21 4 30 0M9 33.5c9-4 21-4 30 0"/>`,
}

// wayWords is the way in a sentence.
func wayWords(way []station) string {
	var parts []string
	for _, s := range way {
		parts = append(parts, fmt.Sprintf("%s (%s)", s.name, s.line))
	}
	text := "From here outwards: " + strings.Join(parts, ", then ") + "."
	for _, s := range way {
		if s.link == bad {
			text += " The way to the internet is cut for UDP."
		}
	}
	return text
}

// picture of the way: side by side, or one below the other for narrow screens.
func wayPicture(r *natprobe.Report, id string, tall bool) template.HTML {
	way := stations(r)
	var d drawing
	wide, high := 1080, 150
	if tall {
		wide, high = 360, 96*len(way)-16
	}
	step := float64(wide) / float64(len(way))
	at := func(i int) (x, y float64) {
		if tall {
			return 40, 40 + 96*float64(i)
		}
		return step * (float64(i) + .5), 48
	}
	for i, s := range way {
		x, y := at(i)
		if i > 0 {
			px, py := at(i - 1)
			x1, y1, x2, y2 := px+44, py, x-44, y
			if tall {
				x1, y1, x2, y2 = px, py+38, x, y-38
			}
			d.line("link "+string(s.link), x1, y1, x2, y2)
			if s.link != good {
				d.mark(s.link, (x1+x2)/2, (y1+y2)/2)
			}
		}
		class := "icon"
		if s.unsure {
			class += " unsure"
		}
		d.add(`<g class="%s"><circle class="disc" cx="%.1f" cy="%.1f" r="36"/>`, class, x, y)
		d.b.WriteString(fmt.Sprintf(`<g class="lines" transform="translate(%.1f %.1f)">%s</g></g>`+"\n", x-24, y-24, icons[s.icon]))
		if tall {
			d.text("name", "start", x+54, y-4, s.name)
			d.text("addr", "start", x+54, y+17, fit(s.line, 38))
		} else {
			d.text("name", "middle", x, y+62, s.name)
			d.text("addr", "middle", x, y+84, fit(s.line, int(step/7.2)))
		}
	}
	return d.done(id, wide, high, "The way out", wayWords(way))
}
