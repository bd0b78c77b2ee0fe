package hygiene

import (
	"fmt"
	"strings"
)

const ruleStreet = "street"

// A floor is a row of the street. A room stands for its package and everything
// under it, except "", which is the root package alone.
type floor struct {
	name  string
	rooms []string
}

// street is the order of the packages, the highest first. A package imports
//
//   - packages of lower floors, except internal/simnet, which is for tests, for
//     the programs of the top floor, and for what these share;
//   - the packages that it lies in: punch/rendezvous may import punch;
//   - nothing of its own floor, and nothing above.
//
// A test file may also import internal/simnet and internal/drive from anywhere,
// for that is where machines are run; a test in a package of its own ("package
// x_test") may also import its own floor, as a user of both would.
var street = []floor{
	{"programs, and tests of the whole", []string{"examples", "internal/interop", "internal/peerbench", "internal/hygiene"}},
	{"what programs share", []string{"examples/internal"}},
	{"the session", []string{""}},
	{"the agent", []string{"ice"}},
	{"the ways through", []string{"punch", "turnclient", "stats"}},
	{"detection", []string{"natprobe"}},
	{"the simulated internet", []string{"internal/simnet"}},
	{"the event loop", []string{"internal/drive", "internal/tap", "internal/seal", "internal/stund"}},
	{"the ground", []string{"internal/wire", "internal/netio", "internal/ident", "internal/plog", "internal/decay", "internal/ipcheck", "internal/words", "internal/work", "internal/feed"}},
	{"the contract", []string{"internal/machine"}},
}

const (
	simulator = "internal/simnet"
	eventLoop = "internal/drive"
)

// floorOf returns the number of a package's floor in street, -1 if it has none. A room
// that lies in another, as examples/internal does in examples, has its own floor.
func floorOf(pkg string) int {
	floor, longest := -1, -1
	for i, f := range street {
		for _, room := range f.rooms {
			if within(pkg, room) && len(room) > longest {
				floor, longest = i, len(room)
			}
		}
	}
	return floor
}

// checkStreet finds the imports of one file that do not go downhill.
func checkStreet(f *goFile) []finding {
	from := floorOf(f.pkg)
	if from < 0 {
		return []finding{f.at(1, ruleStreet, fmt.Sprintf("package %q has no floor", f.pkg),
			"give it one in internal/hygiene/street.go and in ARCHITECTURE.md, or move it")}
	}
	var found []finding
	for _, imp := range f.imports() {
		if !imp.local {
			continue
		}
		if what := wrongStep(f, from, imp.pkg); what != "" {
			found = append(found, f.at(imp.line, ruleStreet, fmt.Sprintf("import of %q %s", imp.path, what),
				"take the thing as an interface or a func, move what both need to a lower floor, or wire the two together higher up"))
		}
	}
	return found
}

// wrongStep says what is wrong with an import of to by f; "" if nothing is.
func wrongStep(f *goFile, from int, to string) string {
	at := floorOf(to)
	parent := to != "" && strings.HasPrefix(f.pkg, to+"/")
	switch {
	case at < 0:
		return "leads to a package that has no floor"
	case f.isTest() && (to == simulator || to == eventLoop), parent, to == f.pkg:
		return ""
	case to == simulator && from > floorOf("examples/internal"):
		return "is for tests, programs and what these share alone"
	case at > from:
		return ""
	case at < from:
		return fmt.Sprintf("goes uphill, from %s to %s", street[from].name, street[at].name)
	case f.isExternalTest():
		return ""
	}
	return fmt.Sprintf("goes sideways: both are on the floor %q", street[at].name)
}
