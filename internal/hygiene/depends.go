package hygiene

import (
	"fmt"
	"strings"
)

const ruleDepends = "depends"

// A guard keeps a dependency in the rooms that are for it, so that nobody links
// it who has no use for it.
type guard struct {
	path  string   // the import path, which covers what lies under it
	rooms []string // who may import it, each with what lies under it
	tests bool     // every test file may, too
	why   string
}

// guards is the list of dependencies, of the standard library too, that are not
// for everybody. internal/interop and internal/peerbench are no part of it: they
// are modules of their own that exist to meet other implementations.
var guards = []guard{
	{"github.com/pion/stun", []string{"internal/wire"}, false, "its pitfalls are handled in one room"},
	{"github.com/pion/ice", []string{"ice/pionice", "examples"}, true, "it links testify, yaml and an unmaintained STUN into every binary"},
	{"github.com/pion/transport", []string{"ice/pionice"}, true, "it is pion's own network; ours is internal/netio"},
	{"github.com/pion/turn", []string{"examples"}, true, "it serves demos and tests"},
	{"github.com/pion/dtls", []string{"turnclient/dtlstransport"}, true, "TURN over DTLS is a leaf"},
	{"github.com/pion/webrtc", []string{"examples/pionwebrtc"}, true, "it is a peer to test against"},
	{"github.com/coder/websocket", []string{"punch/rendezvous", "stats/dashboard"}, true, "only the rendezvous and the dashboard speak WebSocket"},
	{"github.com/prometheus", []string{"stats/prom"}, true, "metrics are a leaf"},
	{"github.com/nats-io", []string{"stats/natsbus", "punch/rendezvous/natsbus", "examples/collector"}, true, "NATS is a leaf"},
	{"github.com/quic-go", []string{"examples"}, true, "QUIC is an example"},
	{"google.golang.org/grpc", []string{"examples/grpc"}, false, "gRPC is an example"},
	{"golang.zx2c4.com/wireguard", []string{"examples/wireguard"}, false, "WireGuard is an example"},
	{"database/sql", []string{"stats/sqlstore", "examples"}, true, "SQL is a leaf"},
	{"net/http", []string{"punch/rendezvous", "stats/prom", "stats/dashboard", "examples"}, true, "it doubles a small binary"},
	{"html/template", []string{"stats/dashboard", "examples"}, true, "it keeps the linker from dropping unused methods"},
}

var foreignModules = []string{"internal/interop", "internal/peerbench"}

// checkGuards finds the imports of one file that are not for its package.
func checkGuards(f *goFile) []finding {
	if withinAny(f.pkg, foreignModules) {
		return nil
	}
	var found []finding
	for _, imp := range f.imports() {
		for _, g := range guards {
			if !within(imp.path, g.path) || withinAny(f.pkg, g.rooms) || g.tests && f.isTest() {
				continue
			}
			rooms := strings.Join(g.rooms, ", ")
			if rooms == "" {
				rooms = "tests"
			}
			found = append(found, f.at(imp.line, ruleDepends, fmt.Sprintf("import of %q, which is for %s alone: %s", imp.path, rooms, g.why),
				"use that package's wrapper, or take an interface"))
		}
	}
	return found
}

// rootMayLink is what the root package and all that it imports may import beside
// the standard library. What guards names is barred to them anyway, but for
// pion/stun by way of internal/wire.
var rootMayLink = []string{
	"github.com/pion/stun/v3",
	"github.com/pion/logging",
	"github.com/flynn/noise",
	"golang.org/x/sys",
	"golang.org/x/net",
	"golang.org/x/crypto",
}

// checkRootGraph follows the imports of the root package through the repository
// and finds what makes them heavy. Every user of the SDK links that graph.
func checkRootGraph(files []*goFile) []finding {
	byPackage := map[string][]*goFile{}
	for _, f := range files {
		if !f.isTest() {
			byPackage[f.pkg] = append(byPackage[f.pkg], f)
		}
	}
	var found []finding
	seen := map[string]bool{"": true}
	for queue := []string{""}; len(queue) > 0; queue = queue[1:] {
		for _, f := range byPackage[queue[0]] {
			for _, imp := range f.imports() {
				if imp.local {
					if !seen[imp.pkg] {
						seen[imp.pkg] = true
						queue = append(queue, imp.pkg)
					}
					continue
				}
				if what := tooHeavy(imp.path); what != "" {
					found = append(found, f.at(imp.line, ruleDepends, fmt.Sprintf("the root package links %q, %s", imp.path, what),
						"move its use to a leaf package that only its users import"))
				}
			}
		}
	}
	return found
}

// tooHeavy says why the root must not link an import path; "" if it may.
func tooHeavy(importPath string) string {
	if withinAny(importPath, rootMayLink) {
		return ""
	}
	for _, g := range guards {
		if within(importPath, g.path) {
			return "which is a leaf's: " + g.why
		}
	}
	first, _, _ := strings.Cut(importPath, "/")
	if strings.Contains(first, ".") {
		return "which is not on the list rootMayLink"
	}
	return ""
}
