package natprobe

import (
	"fmt"
	"strings"
	"time"
)

// typeTexts are the types for people, each with the name that games use.
var typeTexts = [...]struct{ name, game string }{
	TypeUnknown:            {"unknown", ""},
	TypeOpen:               {"open: a public address, nothing filtered", "NAT0"},
	TypeSymmetricFirewall:  {"no NAT, but a firewall that lets only answers in", ""},
	TypeFullCone:           {"full cone NAT", "NAT1"},
	TypeRestrictedCone:     {"restricted cone NAT", "NAT2"},
	TypePortRestrictedCone: {"port restricted cone NAT", "NAT3"},
	TypeSymmetric:          {"symmetric NAT", "NAT4"},
	TypeUDPBlocked:         {"UDP is blocked", ""},
}

// Title returns the type as people know it, such as "port restricted cone NAT (NAT3)".
func (t Type) Title() string {
	if int(t) >= len(typeTexts) {
		t = TypeUnknown
	}
	text := typeTexts[t]
	if text.game != "" {
		return fmt.Sprintf("%s (%s)", text.name, text.game)
	}
	return text.name
}

// String returns the report for people, in several lines: what this is, what it means for
// getting through to others, and what could be changed.
func (r Report) String() string {
	var b strings.Builder
	r.write(&b)
	if r.IPv6 != nil {
		b.WriteString("\nIPv6\n")
		r.IPv6.write(&b)
	}
	return b.String()
}

func (r *Report) write(b *strings.Builder) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("Type", "%s%s", r.Type.Title(), percent(r.Confidence))
	if c, ok := r.Conclusion("type"); ok && r.Type == TypeUnknown {
		row("", "%s", c.Because)
	}
	if r.Mapped.IsValid() {
		row("Seen as", "%v", r.Mapped)
	}
	for _, about := range []struct{ about, name string }{
		{"nat", "NAT"}, {"mapping", "Mapping"}, {"filtering", "Filtering"}, {"ports", "Ports"}, {"hairpin", "Hairpin"},
		{"paired", "Pooling"}, {"alg", "ALG"}, {"nested", "Nested"}, {"fragments", "Fragments"}, {"tcp", "TCP"}, {"lifetime", "Lifetime"}, {"servers", "Servers"},
	} {
		if c, ok := r.Conclusion(about.about); ok {
			row(about.name, "%s%s: %s", strings.ReplaceAll(c.Says, "_", " "), percent(c.Confidence), c.Because)
		}
	}
	if lines := r.reach(); len(lines) > 0 {
		b.WriteString("\nGetting through directly\n")
		for _, l := range lines {
			fmt.Fprintf(b, "  to %-32s %s\n", l[0], l[1])
		}
	}
	if lines := r.Advice(); len(lines) > 0 {
		b.WriteString("\nWhat would help\n")
		for _, l := range lines {
			fmt.Fprintf(b, "  - %s\n", l)
		}
	}
	if grades := r.Grades(); len(grades) > 0 {
		b.WriteString("\nWhat the RFCs demand\n")
		for _, g := range grades {
			fmt.Fprintf(b, "  RFC %d %-7s %-52s %v\n", g.RFC, g.Requirement, g.About, g.Kept)
		}
	}
	fmt.Fprintf(b, "\n%d packets in %v\n", r.Packets, r.Elapsed.Round(time.Millisecond))
}

// percent tells a confidence where there is any.
func percent(confidence float64) string {
	if confidence <= 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f %% sure", 100*confidence)
}

// The words for how a connection comes about.
const (
	goesYes     = "yes"
	goesLikely  = "likely: ports can be predicted"
	goesHard    = "hard: only by many probes at once"
	goesNo      = "no: through a relay"
	goesByTCP   = "by TCP, or through a relay"
	goesUnknown = "unknown"
)

// predictable tells whether the next port can be told to within few.
func (r *Report) predictable() bool {
	return r.Ports.Model == PortsSequential || r.Ports.Model == PortsPreserving
}

// reach says for each kind of peer whether a direct connection is to be expected.
func (r *Report) reach() [][2]string {
	const (
		easy       = "open, full or restricted cone"
		port       = "port restricted cone, firewall"
		sequential = "symmetric, predictable ports"
		random     = "symmetric, random ports"
	)
	switch r.Type {
	case TypeOpen, TypeFullCone, TypeRestrictedCone:
		return [][2]string{{"anyone with UDP", goesYes}}
	case TypePortRestrictedCone, TypeSymmetricFirewall:
		if r.Filtering == FilteringAddressDependent {
			return [][2]string{{"anyone with UDP", goesYes}}
		}
		return [][2]string{{easy, goesYes}, {port, goesYes}, {sequential, goesLikely}, {random, goesHard}}
	case TypeSymmetric:
		if r.predictable() {
			return [][2]string{{easy, goesYes}, {port, goesLikely}, {sequential, goesLikely}, {random, goesNo}}
		}
		return [][2]string{{easy, goesYes}, {port, goesHard}, {sequential, goesNo}, {random, goesNo}}
	case TypeUDPBlocked:
		return [][2]string{{"anyone", goesByTCP}}
	}
	if r.Mapping == MappingEndpointIndependent {
		return [][2]string{{easy, goesYes}, {port, goesYes}, {sequential, goesUnknown}, {random, goesUnknown}}
	}
	return nil
}

// Advice says what could be changed, on the router mostly, so that more peers get through: a
// sentence each, for people, in no more than a handful. IPv6 has advice of its own. Nil: nothing
// is known that would help.
func (r *Report) Advice() (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch r.Type {
	case TypeSymmetric:
		add("On the router, choose \"full cone\", \"cone NAT\" or \"endpoint-independent\" where it has that setting; on Linux, masquerade without \"random\".")
		add("Switch on UPnP or NAT-PMP/PCP on the router: a mapped port is open to all.")
	case TypePortRestrictedCone, TypeRestrictedCone:
		add("Nothing needs to change for most peers. UPnP or NAT-PMP/PCP on the router, or a forwarded port, opens a port to all.")
	case TypeSymmetricFirewall:
		add("Let UDP in to the port that the program uses, or switch on PCP on the router.")
	case TypeUDPBlocked:
		add("Let UDP out in the firewall, at least to port 3478 of the servers; else a relay over TCP or TLS on port 443 is needed.")
	}
	if r.ALG == Yes {
		add("Switch off the router's application-level gateways (ALG): something rewrites addresses inside of packets.")
	}
	if r.Nested == Yes {
		add("There is more than one NAT: put the router behind the first into bridge mode, or ask the provider for a public address.")
	}
	if c, ok := r.Conclusion("filtering"); ok && r.Filtering == FilteringUnknown && r.Type != TypeSymmetric && r.NAT != VerdictUnknown {
		add("To learn the filtering, name a server that supports RFC 5780 first (%s).", c.Because)
	}
	return lines
}
