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
	figure     = regexp.MustCompile(`\d[\d.,]* ?(?:%|ms|s\b)`)
)

// skeleton is what a document and its translation have in common, one thing a line.
func skeleton(f *textFile) []string {
	var found []string
	inBlock := false
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
		case strings.HasPrefix(line, "- "):
			found = append(found, "an item of a list")
		}
	}
	return found
}

// checkTranslation finds the first place where a translation has not been kept at the state
// of its original: other commands or code, other figures or links in a table, a section more
// or less.
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
