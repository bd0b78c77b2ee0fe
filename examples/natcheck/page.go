package main

import (
	"bytes"
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bradawl/bradawl/natprobe"
)

//go:embed page.html
var pageText string

// The template escapes all that is put in by where it stands.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"badge": badge, "capital": capital, "clip": clip, "ms": ms, "percent": percent, "spaced": spaced}).Parse(pageText))

// page is what the template shows.
type page struct {
	Title    string
	Made     string
	Servers  []string
	Families []family
}

// family is what was found for one family of addresses.
type family struct {
	ID, Name     string
	State        state
	Head, Plain  string
	Confidence   float64
	Because      string
	Way, WayTall template.HTML
	Cards        []card
	Facts        []fact
	Reach        []reached
	Advice       []string
	Grades       []natprobe.Grade
	Report       *natprobe.Report
	Conclusions  []natprobe.Conclusion
	Observations []natprobe.Observation
	More         int // observations left out
}

// card is a picture with what it says.
type card struct {
	Name, Says string
	Confidence float64
	Picture    template.HTML
	Because    string
}

// How many transactions and conclusions are listed at most. There are about 40 and 15.
const maxObservations, maxConclusions = 200, 50

// render makes the page of a report: one file that needs no other. It depends on its arguments
// alone.
func render(r *natprobe.Report, servers []string, made time.Time) ([]byte, error) {
	p := page{Made: made.UTC().Format("2006-01-02 15:04 UTC"), Servers: servers}
	p.Families = append(p.Families, familyOf(r, "a", r.IPv6 == nil))
	p.Title = p.Families[0].Head
	if r.IPv6 != nil {
		p.Families = append(p.Families, familyOf(r.IPv6, "b", false))
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		return nil, fmt.Errorf("the page cannot be made: %w", err)
	}
	return bytes.Map(printable, out.Bytes()), nil
}

// printable takes out what no text needs and what could make the page another one than it looks:
// control characters, and those that turn the direction of writing.
func printable(c rune) rune {
	if c != '\n' && c != '\t' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c >= 0xfffe && c <= 0xffff) {
		return utf8.RuneError
	}
	return c
}

// familyName tells which family a report is of.
func familyName(r *natprobe.Report) string {
	for _, a := range []netip.AddrPort{r.Mapped, r.Server, r.Local} {
		if a.IsValid() && !a.Addr().Unmap().Is4() {
			return "IPv6"
		}
	}
	return "IPv4"
}

// familyOf puts a report into pictures and words. id makes names in the page its own.
func familyOf(r *natprobe.Report, id string, alone bool) family {
	name := familyName(r)
	f := family{
		ID: id, Name: name, State: typeState(r.Type), Confidence: r.Confidence, Because: because(r, "type"),
		Way: wayPicture(r, id+"-way", false), WayTall: wayPicture(r, id+"-waytall", true),
		Reach: reach(r), Advice: r.Advice(), Grades: r.Grades(), Report: r,
	}
	f.Head, f.Plain = typeOf(r)
	if r.Type == natprobe.TypeUnknown && r.Mapped.IsValid() {
		missing := "filtering" // which says more
		if r.Mapping == natprobe.MappingUnknown {
			missing = "mapping"
		}
		f.Because = because(r, missing)
	}
	f.Cards = []card{
		{"Mapping", mappingWords(r), sure(r, "mapping"), mappingPicture(r, id+"-mapping"), because(r, "mapping")},
		{"Filtering", filteringWords(r.Filtering), sure(r, "filtering"), filteringPicture(r, id+"-filtering"), because(r, "filtering")},
		{"Outside ports", portsWords(r.Ports), sure(r, "ports"), portsPicture(r, id+"-ports"), portsWhy(r)},
	}
	if l := r.Lifetime; l != nil {
		says := "An idle mapping lives " + l.Answered.String()
		if l.Answered == (natprobe.Lifespan{}) {
			says = "Not known"
		}
		f.Cards = append(f.Cards, card{"Lifetime", says, sure(r, "lifetime"), lifetimePicture(l, id+"-lifetime"), because(r, "lifetime")})
	}
	other := ""
	if alone {
		other = map[string]string{"IPv4": "IPv6", "IPv6": "IPv4"}[name]
	}
	f.Facts = facts(r, other)
	f.Conclusions = r.Conclusions[:min(len(r.Conclusions), maxConclusions)]
	f.Observations = r.Observations
	if n := len(f.Observations); n > maxObservations {
		f.Observations, f.More = f.Observations[:maxObservations], n-maxObservations
	}
	return f
}

// because is why something was concluded, or is not known.
func because(r *natprobe.Report, about string) string {
	if c, ok := r.Conclusion(about); ok {
		return c.Because
	}
	if c, ok := r.Conclusion("type"); ok {
		return c.Because
	}
	return "nothing was concluded about it"
}

func sure(r *natprobe.Report, about string) float64 {
	c, _ := r.Conclusion(about)
	return c.Confidence
}

// percent tells a confidence where there is any. Nothing is quite sure.
func percent(confidence float64) string {
	if !(confidence > 0) {
		return ""
	}
	return fmt.Sprintf("%d %% sure", hundredths(confidence))
}

// hundredths is a chance in percent, of which none is whole and none is nothing.
func hundredths(chance float64) int { return int(min(max(math.Round(100*chance), 1), 99)) }

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// ms is a time as exact as it matters.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

// spaced writes the words of behaviours as people do.
func spaced(s string) string { return strings.ReplaceAll(s, "_", " ") }

// maxText is how many characters of a text from outside are shown.
const maxText = 600

// clip bounds a text, or what has one.
func clip(v any) string { return cut(fmt.Sprint(v), maxText) }

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return s
}
