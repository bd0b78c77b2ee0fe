package hygiene

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const ruleTranslation = "translation"

var (
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	codeSpan   = regexp.MustCompile("`[^`]+`")
	figure     = regexp.MustCompile(`\d[\d.,]* ?(?:%|ms|s\b)`)
)

// skeleton is what a document and its translation have in common, one thing a line. Where
// paragraphs break is the language's, too, so that there is one line for the prose of a section.
func skeleton(f *textFile) []string {
	var found, prose []string
	inBlock := false
	section := func() {
		if slices.Sort(prose); len(prose) > 0 {
			found = append(found, fmt.Sprintf("prose with %q", prose))
		}
		prose = nil
	}
	for line := range strings.Lines(string(f.src)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = !inBlock
			found = append(found, line)
		case inBlock:
			// What comments of code say is the reader's language.
			code, _, _ := strings.Cut(line, "// ")
			found = append(found, strings.TrimRight(code, " "))
		case strings.HasPrefix(line, "#"):
			section()
			level, _, _ := strings.Cut(line, " ")
			found = append(found, "a heading: "+level)
		case strings.HasPrefix(line, "|"):
			// Where links and figures stand within a row is the language's.
			row := figure.FindAllString(line, -1)
			for _, m := range linkTarget.FindAllStringSubmatch(line, -1) {
				row = append(row, m[1])
			}
			slices.Sort(row)
			found = append(found, fmt.Sprintf("a row of %d cells with %q", strings.Count(line, "|")-1, row))
		default:
			if strings.HasPrefix(line, "- ") {
				found = append(found, "an item of a list")
			}
			prose = append(prose, facts(line)...)
		}
	}
	section()
	return found
}

// facts are what a line of prose has in any language: figures, code, and links, but for those to
// headings, which are translated, and from the one document to the other.
func facts(line string) []string {
	all := append(codeSpan.FindAllString(line, -1), figure.FindAllString(codeSpan.ReplaceAllString(line, ""), -1)...)
	for _, m := range linkTarget.FindAllStringSubmatch(line, -1) {
		if to := m[1]; !strings.HasPrefix(to, "#") && !strings.HasPrefix(to, "README") {
			all = append(all, to)
		}
	}
	return all
}

// checkTranslation finds the first place where a translation has not been kept at the state
// of its original: other commands, code, figures or links, a section, a row or an item more or
// less.
func checkTranslation(original, translation *textFile) []finding {
	want, got := skeleton(original), skeleton(translation)
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			return []finding{translation.at(1, ruleTranslation, fmt.Sprintf("it has %q where %s has %q", g, original.path, w),
				"change both in the same commit")}
		}
	}
	return nil
}
