package hygiene

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

const ruleDocuments = "documents"

// checkCommands finds Go commands in a document's sh blocks that the CI script
// does not run: what a document tells its reader to type must be known to work.
func checkCommands(document, ci *textFile) []finding {
	var found []finding
	script := string(ci.src)
	inBlock := false
	for i, line := range strings.Split(string(document.src), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = !inBlock && line == "```sh"
		case inBlock && strings.HasPrefix(line, "go "):
			command, _, _ := strings.Cut(line, " #")
			command = strings.TrimSpace(command)
			if !containsCommand(script, command) {
				found = append(found, document.at(i+1, ruleDocuments, fmt.Sprintf("%s does not run %q", ci.path, command),
					"make the two the same"))
			}
		}
	}
	return found
}

// containsCommand reports whether a line of the script ends in the command, so
// that "go test ./x" is not taken for found in "go test ./xyz".
func containsCommand(script, command string) bool {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		if before, ok := strings.CutSuffix(line, command); ok && (before == "" || strings.HasSuffix(before, " ")) {
			return true
		}
	}
	return false
}

var (
	requireLine = regexp.MustCompile(`(?m)^(?:require )?\s*([\w.-]+\.[\w.-]+/\S+) v\S+(.*)$`)
)

// checkReasons finds dependencies of a go.mod that ARCHITECTURE.md does not name.
// Those that are marked indirect are their importers' choice, not ours.
func checkReasons(mod, architecture *textFile) []finding {
	var found []finding
	for i, line := range strings.Split(string(mod.src), "\n") {
		m := requireLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || strings.Contains(m[2], "// indirect") || strings.HasPrefix(m[1], modulePath) {
			continue
		}
		if !strings.Contains(string(architecture.src), "`"+m[1]+"`") {
			found = append(found, mod.at(i+1, ruleDocuments, fmt.Sprintf("dependency %s has no reason", m[1]),
				"name it in ARCHITECTURE.md under \"Dependencies\" and say why, or drop it"))
		}
	}
	return found
}

// unfixed are modules with flaws that no version of them fixes. The main module must not
// require them, not even for a test or by way of another: every program that uses the SDK
// would have them, and govulncheck say so. The nested modules may.
var unfixed = map[string]string{
	"github.com/pion/stun":      "what GO-2026-6163 is in v3, where it is fixed",
	"github.com/pion/dtls/v2":   "GO-2026-4479",
	"github.com/pion/ice/v2":    "it needs the old pion/stun and pion/dtls/v2",
	"github.com/pion/turn/v2":   "it needs the old pion/stun",
	"github.com/pion/webrtc/v3": "it needs the old pion/stun and pion/dtls/v2",
}

// checkUnfixed finds them in the main module's go.mod.
func checkUnfixed(mod *textFile) []finding {
	var found []finding
	for i, line := range strings.Split(string(mod.src), "\n") {
		m := requireLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || unfixed[m[1]] == "" {
			continue
		}
		found = append(found, mod.at(i+1, ruleDocuments, fmt.Sprintf("%s has a flaw without a fix: %s", m[1], unfixed[m[1]]),
			"move what needs it to a nested module, tests too (internal/interop)"))
	}
	return found
}

var moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)

// checkModules finds nested modules that go.work does not list, whose tests CI
// would therefore not run, and module paths that are not the folder's.
func checkModules(t *tree) []finding {
	work := ""
	if f := t.file("go.work"); f != nil {
		work = string(f.src)
	}
	var found []finding
	for _, f := range t.text {
		if path.Base(f.path) != "go.mod" {
			continue
		}
		folder := path.Dir(f.path)
		want := path.Join(modulePath, folder)
		if m := moduleLine.FindSubmatch(f.src); m == nil || string(m[1]) != want {
			found = append(found, f.at(1, ruleDocuments, "the module's path is not its folder's", "call it "+want))
		}
		if folder != "." && !regexp.MustCompile(`(?m)^(use)?\s*\./`+regexp.QuoteMeta(folder)+`\s*$`).MatchString(work) {
			found = append(found, f.at(1, ruleDocuments, "go.work does not use ./"+folder, "add it there, so that its tests are run"))
		}
	}
	return found
}
