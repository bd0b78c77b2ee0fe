package hygiene

import (
	"bytes"
	"fmt"
	"go/format"
	"regexp"
	"strings"
)

const ruleFormatted = "formatted"

// checkFormatted finds the first line at which a file differs from gofmt's.
func checkFormatted(f *goFile) []finding {
	want, err := format.Source(f.src)
	if err != nil {
		return []finding{f.at(1, ruleFormatted, err.Error(), "mend the syntax")}
	}
	if bytes.Equal(want, f.src) {
		return nil
	}
	line := 1
	for i := 0; i < len(want) && i < len(f.src) && want[i] == f.src[i]; i++ {
		if want[i] == '\n' {
			line++
		}
	}
	return []finding{f.at(line, ruleFormatted, "the file is not as gofmt has it", "run gofmt -w on it")}
}

const ruleUnfinished = "unfinished"

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// checkUnfinished finds comments that put work off.
func checkUnfinished(f *goFile) []finding {
	var found []finding
	for _, group := range f.ast.Comments {
		for _, comment := range group.List {
			if word := unfinished.FindString(comment.Text); word != "" {
				found = append(found, f.at(f.line(comment.Pos()), ruleUnfinished, word+" in a comment", "do it now, or file an issue and delete the comment"))
			}
		}
	}
	return found
}

const (
	ruleLong = "length"
	longest  = 500
)

// checkLength finds Go files over 500 lines for which ARCHITECTURE.md gives no
// reason: a line that names the file in backquotes and says something of it.
func checkLength(f *goFile, architecture []byte) []finding {
	lines := bytes.Count(f.src, []byte("\n"))
	if lines <= longest {
		return nil
	}
	reason := regexp.MustCompile("(?m)^.*`" + regexp.QuoteMeta(f.path) + "`[^\n]*[a-z]{3}")
	if reason.Match(architecture) {
		return nil
	}
	return []finding{f.at(longest+1, ruleLong, fmt.Sprintf("%d lines, want at most %d", lines, longest),
		"split it by concern, or name it with the reason in ARCHITECTURE.md under \"Files over 500 lines\"")}
}

const ruleMachine = "machine"

// somebodysMachine are paths and hosts that hold on one machine or in one
// network only. The brackets keep this line from finding itself.
var somebodysMachine = regexp.MustCompile(`(^|[^\w./-])(/[w]ork/|/[r]oot/)|\bproxy[.]golang\b`)

// checkMachine finds paths of somebody's machine, and registry hosts.
func checkMachine(f *textFile) []finding {
	if !somebodysMachine.Match(f.src) {
		return nil // a line at a time takes much longer
	}
	var found []finding
	for i, line := range strings.Split(string(f.src), "\n") {
		if hit := somebodysMachine.FindString(line); hit != "" {
			found = append(found, f.at(i+1, ruleMachine, fmt.Sprintf("%q holds on one machine only", strings.TrimSpace(hit)),
				"use a relative path, a temporary folder, or the tool's own default"))
		}
	}
	return found
}
