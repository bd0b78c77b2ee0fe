package hygiene

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
)

const ruleLinks = "links"

var (
	inlineLink    = regexp.MustCompile(`\]\(\s*(?:<([^<>]*)>|((?:[^()\s<>]|\([^()\s<>]*\))+))(?:\s+"[^"]*")?\s*\)`)
	referenceLink = regexp.MustCompile(`^\s{0,3}\[([^\]^][^\]]*)\]:\s*(?:<([^<>]*)>|(\S+))`) // [^1]: is a footnote
	byReference   = regexp.MustCompile(`\[([^\[\]]+)\]\[([^\[\]]*)\]`)
	htmlLink      = regexp.MustCompile(`<(?:a|img|source)\s[^>]*?(?:href|src|srcset)="([^"]+)"`)
	heading       = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*\s*$`)
	linkText      = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	anchorTag     = regexp.MustCompile(`<a\s[^>]*?(?:id|name)="([^"]+)"`)
	hasScheme     = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*:`)
)

// checkLinks finds links of Markdown documents that lead to no file, or to no heading, of
// the repository. What is outside of it is not asked for.
func checkLinks(t *tree) []finding {
	there := map[string]bool{".": true}
	anchors := make(map[string]map[string]bool)
	for _, f := range t.text {
		for name := f.path; name != "."; name = path.Dir(name) {
			there[name] = true
		}
		if isMarkdown(f.path) {
			anchors[f.path] = anchorsOf(f)
		}
	}
	var found []finding
	for _, f := range t.text {
		if !isMarkdown(f.path) {
			continue
		}
		labels := make(map[string]bool)
		eachLine(f, func(_ int, line string) {
			if m := referenceLink.FindStringSubmatch(line); m != nil {
				labels[strings.ToLower(m[1])] = true
			}
		})
		eachLine(f, func(number int, line string) {
			for _, m := range byReference.FindAllStringSubmatch(withoutCode(line), -1) {
				if label := cmp.Or(m[2], m[1]); !labels[strings.ToLower(label)] {
					found = append(found, f.at(number, ruleLinks, fmt.Sprintf("[%s] is defined nowhere", label), "add a line [label]: target, or mend the label"))
				}
			}
			for _, to := range linksOf(line) {
				if what := deadLink(f.path, to, there, anchors); what != "" {
					found = append(found, f.at(number, ruleLinks, fmt.Sprintf("%q %s", to, what), "mend the link, or what it leads to"))
				}
			}
		})
	}
	return found
}

func isMarkdown(name string) bool { return path.Ext(name) == ".md" }

// deadLink says what is wrong with a link from a file; "" if nothing is.
func deadLink(from, to string, there map[string]bool, anchors map[string]map[string]bool) string {
	if hasScheme.MatchString(to) || strings.HasPrefix(to, "//") {
		return ""
	}
	name, anchor, _ := strings.Cut(to, "#")
	name, err := url.PathUnescape(name)
	if err != nil {
		return "is no path"
	}
	switch {
	case strings.HasPrefix(name, "/"):
		return "is not relative, and means something else where the page is shown elsewhere"
	case name == "":
		name = from
	default:
		name = path.Join(path.Dir(from), name)
	}
	switch {
	case !there[name]:
		return "leads to no file"
	case anchor != "" && isMarkdown(name) && !anchors[name][anchor]:
		return "leads to no heading"
	}
	return ""
}

// eachLine calls fn for each line outside of blocks of code.
func eachLine(f *textFile, fn func(number int, line string)) {
	fence := ""
	for i, line := range strings.Split(string(f.src), "\n") {
		line = strings.TrimRight(line, "\r")
		before := fence
		if fence = fenceAfter(fence, line); before == "" && fence == "" {
			fn(i+1, line)
		}
	}
}

// fenceAfter is what ends the block that a line is in, after that line; "": it is in none.
func fenceAfter(fence, line string) string {
	mark := strings.TrimSpace(line)
	switch {
	case fence != "" && strings.HasPrefix(mark, fence) && strings.Trim(mark, fence[:1]) == "":
		return ""
	case fence == "" && (strings.HasPrefix(mark, "```") || strings.HasPrefix(mark, "~~~")):
		return mark[:len(mark)-len(strings.TrimLeft(mark, mark[:1]))]
	}
	return fence
}

// linksOf returns where the links of a line lead, but for those that are shown as code.
func linksOf(line string) (all []string) {
	line = withoutCode(line)
	for _, m := range inlineLink.FindAllStringSubmatch(line, -1) {
		all = append(all, cmp.Or(m[1], m[2]))
	}
	if m := referenceLink.FindStringSubmatch(line); m != nil {
		all = append(all, cmp.Or(m[2], m[3]))
	}
	for _, m := range htmlLink.FindAllStringSubmatch(line, -1) {
		all = append(all, m[1])
	}
	return all
}

// withoutCode blanks the code spans of a line.
func withoutCode(line string) string {
	for at := 0; ; {
		i := strings.IndexByte(line[at:], '`')
		if i < 0 {
			return line
		}
		i += at
		ticks := line[i : i+len(line[i:])-len(strings.TrimLeft(line[i:], "`"))]
		end := closing(line[i+len(ticks):], ticks)
		if end < 0 {
			at = i + len(ticks)
			continue
		}
		line = line[:i] + line[i+len(ticks)+end+len(ticks):]
		at = i
	}
}

// closing returns where a run of exactly these ticks begins; -1: nowhere.
func closing(s, ticks string) int {
	for at := 0; at < len(s); {
		i := strings.IndexByte(s[at:], '`')
		if i < 0 {
			return -1
		}
		i += at
		n := len(s[i:]) - len(strings.TrimLeft(s[i:], "`"))
		if n == len(ticks) {
			return i
		}
		at = i + n
	}
	return -1
}

// anchorsOf returns the names of a document's headings as GitHub makes them, and of its
// own anchors.
func anchorsOf(f *textFile) map[string]bool {
	all := make(map[string]bool)
	seen := make(map[string]int)
	eachLine(f, func(_ int, line string) {
		for _, m := range anchorTag.FindAllStringSubmatch(withoutCode(line), -1) {
			all[m[1]] = true
		}
		m := heading.FindStringSubmatch(line)
		if m == nil {
			return
		}
		name := slug(m[1])
		if n := seen[name]; n > 0 {
			all[fmt.Sprintf("%s-%d", name, n)] = true
		} else {
			all[name] = true
		}
		seen[name]++
	})
	return all
}

// slug is the name of a heading: in lower case, blanks as dashes, without punctuation.
func slug(text string) string {
	text = linkText.ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, text)
}
