package hygiene

import (
	"strings"
	"testing"
)

// A breach is a source that a rule must find at the line given, or, with line 0,
// must let pass.
type breach struct {
	name string
	path string
	src  string
	line int
	says string
}

func mustParse(t *testing.T, path, src string) *goFile {
	t.Helper()
	f, err := parseGo(path, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func run(t *testing.T, rule func(*goFile) []finding, breaches []breach) {
	t.Helper()
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			judge(t, rule(mustParse(t, b.path, b.src)), b.path, b.line, b.says)
		})
	}
}

// judge wants exactly one finding at path:line that says a word and a remedy, or none.
func judge(t *testing.T, found []finding, path string, line int, says string) {
	t.Helper()
	switch {
	case line == 0 && len(found) == 0:
	case line == 0:
		t.Errorf("found %v, want nothing", found)
	case len(found) != 1:
		t.Errorf("found %v, want one finding at %s:%d", found, path, line)
	case found[0].line != line || found[0].path != path || !strings.Contains(found[0].String(), says) || found[0].remedy == "":
		t.Errorf("found %q, want %s:%d to say %q and a remedy", found[0], path, line, says)
	}
}

// importing is a file that imports one path, on line 3.
func importing(pkg, path string) string {
	return "package " + pkg + "\n\nimport _ \"" + path + "\"\n"
}

func TestStreet(t *testing.T) {
	const m = modulePath
	run(t, checkStreet, []breach{
		{"uphill", "punch/plan.go", importing("punch", m+"/ice"), 3, "uphill"},
		{"uphill to the root", "ice/agent.go", importing("ice", m), 3, "uphill"},
		{"a subpackage is no way around", "natprobe/stunserver/io.go", importing("stunserver", m+"/punch/rendezvous"), 3, "uphill"},
		{"sideways", "punch/plan.go", importing("punch", m+"/turnclient"), 3, "sideways"},
		{"sideways on the ground", "internal/wire/stun.go", importing("wire", m+"/internal/netio"), 3, "sideways"},
		{"sideways between subpackages", "punch/rendezvous/server.go", importing("rendezvous", m+"/punch/portmap"), 3, "sideways"},
		{"a parent and its subpackage", "natprobe/plan.go", importing("natprobe", m+"/natprobe/stunserver"), 3, "sideways"},
		{"pion's bridge from the agent", "ice/agent.go", importing("ice", m+"/ice/pionice"), 3, "sideways"},
		{"programs", "examples/a/main.go", importing("main", m+"/examples/b"), 3, "sideways"},
		{"the simulator in a product", "natprobe/io.go", importing("natprobe", m+"/internal/simnet"), 3, "for tests"},
		{"from nowhere", "utils/a.go", importing("utils", m+"/ice"), 1, "no floor"},
		{"to nowhere", "ice/agent.go", importing("ice", m+"/utils"), 3, "no floor"},
		{"a test uphill", "punch/plan_test.go", importing("punch_test", m+"/ice"), 3, "uphill"},
		{"a test in the package, sideways", "punch/plan_test.go", importing("punch", m+"/stats"), 3, "sideways"},
		{"a file for another system", "punch/sockopt_plan9.go", "//go:build plan9\n\n" + importing("punch", m+"/ice"), 5, "uphill"},

		{"the agent from pion's bridge", "ice/pionice/convert.go", importing("pionice", m+"/ice"), 0, ""},
		{"a program on pion's bridge", "examples/pionwebrtc/main.go", importing("main", m+"/ice/pionice"), 0, ""},
		{"downhill", "punch/plan.go", importing("punch", m+"/internal/wire"), 0, ""},
		{"the parent", "punch/rendezvous/server.go", importing("rendezvous", m+"/punch"), 0, ""},
		{"a program", "examples/twopeer/main.go", importing("main", m+"/internal/simnet"), 0, ""},
		{"what programs share", "examples/internal/simworld/world.go", importing("simworld", m+"/internal/simnet"), 0, ""},
		{"a test of a machine", "natprobe/machine_test.go", importing("natprobe", m+"/internal/simnet"), 0, ""},
		{"a test of its own, sideways", "natprobe/io_test.go", importing("natprobe_test", m+"/natprobe/stunserver"), 0, ""},
		{"a test of the package itself", "punch/example_test.go", importing("punch_test", m+"/punch"), 0, ""},
		{"a name that only begins alike", "punch/plan.go", importing("punch", "github.com/bradawl/bradawl-tools/ice"), 0, ""},
	})
}

func TestGuards(t *testing.T) {
	run(t, checkGuards, []breach{
		{"stun outside wire", "natprobe/machine.go", importing("natprobe", "github.com/pion/stun/v3"), 3, "internal/wire"},
		{"stun in a test", "natprobe/machine_test.go", importing("natprobe", "github.com/pion/stun/v3"), 3, "internal/wire"},
		{"the old stun", "punch/udp.go", importing("punch", "github.com/pion/stun"), 3, "internal/wire"},
		{"pion's agent", "ice/agent.go", importing("ice", "github.com/pion/ice/v2"), 3, "ice/pionice"},
		{"a web server", "natprobe/io.go", importing("natprobe", "net/http"), 3, "binary"},
		{"a database", "stats/recorder.go", importing("stats", "database/sql"), 3, "SQL"},

		{"stun in wire", "internal/wire/message.go", importing("wire", "github.com/pion/stun/v3"), 0, ""},
		{"pion's sockets", "natprobe/io.go", importing("natprobe", "github.com/pion/transport/v2"), 3, "ice/pionice"},
		{"a whole WebRTC", "ice/pionice/webrtc.go", importing("pionice", "github.com/pion/webrtc/v3"), 3, "examples/pionwebrtc"},
		{"pion's agent in its bridge", "ice/pionice/adapter.go", importing("pionice", "github.com/pion/ice/v2"), 0, ""},
		{"pion's agent in a test", "ice/agent_test.go", importing("ice_test", "github.com/pion/ice/v2"), 0, ""},
		{"the other implementations' module", "internal/interop/ice_test.go", importing("interop", "github.com/pion/stun/v3"), 0, ""},
		{"the rendezvous", "punch/rendezvous/io_server.go", importing("rendezvous", "net/http"), 0, ""},
		{"a package beside it in the library", "natprobe/io.go", importing("natprobe", "net/httpx"), 0, ""},
	})
}

func TestRootGraph(t *testing.T) {
	const m = modulePath
	root := mustParse(t, "session.go", importing("bradawl", m+"/punch"))
	tests := []struct {
		name, path, src string
		line            int
		says            string
	}{
		{"a leaf's dependency, two steps away", "punch/io.go", importing("punch", "net/http"), 3, "leaf"},
		{"an unknown module", "punch/io.go", importing("punch", "example.org/cobra"), 3, "not on the list"},
		{"what may be linked", "punch/io.go", importing("punch", "golang.org/x/sys/unix"), 0, ""},
		{"a test links nothing", "punch/io_test.go", importing("punch", "net/http"), 0, ""},
		{"what the root does not import", "stats/prom/prom.go", importing("prom", "net/http"), 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			judge(t, checkRootGraph([]*goFile{root, mustParse(t, tt.path, tt.src)}), tt.path, tt.line, tt.says)
		})
	}
}

func TestCore(t *testing.T) {
	call := func(path, expr string) string {
		return "package p\n\nimport \"" + path + "\"\n\nvar x = " + expr + "\n"
	}
	run(t, checkCore, []breach{
		{"net", "punch/udp.go", importing("punch", "net"), 3, `"net"`},
		{"under net", "punch/udp.go", importing("punch", "net/url"), 3, `"net/url"`},
		{"os", "natprobe/plan.go", importing("natprobe", "os"), 3, `"os"`},
		{"sync/atomic", "turnclient/state.go", importing("turnclient", "sync/atomic"), 3, "sync"},
		{"context", "ice/agent.go", importing("ice", "context"), 3, "context"},
		{"global secrets", "ice/agent.go", importing("ice", "crypto/rand"), 3, "crypto/rand"},
		{"old randomness", "ice/agent.go", importing("ice", "math/rand"), 3, "math/rand"},
		{"the loop", "punch/udp.go", importing("punch", modulePath+"/internal/drive"), 3, "drive"},
		{"a subpackage", "natprobe/stunserver/server.go", importing("stunserver", "net"), 3, `"net"`},
		{"the session's control", "path.go", importing("bradawl", "net"), 3, `"net"`},
		{"a new file of its", "explain_anew.go", importing("bradawl", "sync"), 3, "sync"},
		{"the clock", "punch/udp.go", call("time", "time.Now()"), 5, "time.Now"},
		{"the clock as a value", "punch/udp.go", call("time", "time.Since"), 5, "time.Since"},
		{"the clock by another name", "punch/udp.go", "package p\n\nimport clock \"time\"\n\nvar x = clock.NewTimer(1)\n", 5, "time.NewTimer"},
		{"global randomness", "punch/udp.go", call("math/rand/v2", "rand.IntN(6)"), 5, "rand.IntN"},
		{"a generic of global randomness", "punch/udp.go", call("math/rand/v2", "rand.N[int64](6)"), 5, "rand.N"},
		{"a goroutine", "punch/udp.go", "package p\n\nfunc f() {\n\tgo f()\n}\n", 4, "goroutine"},

		{"a shell", "punch/io_udp.go", importing("punch", "net"), 0, ""},
		{"a socket option", "punch/sockopt_linux.go", importing("punch", "os"), 0, ""},
		{"a config", "natprobe/config.go", importing("natprobe", "net"), 0, ""},
		{"a test", "punch/udp_test.go", importing("punch", "net"), 0, ""},
		{"no protocol", "stats/recorder.go", importing("stats", "sync"), 0, ""},
		{"the session's shell", "session.go", importing("bradawl", "net"), 0, ""},
		{"a shell file of the session's", "io_watch.go", importing("bradawl", "net"), 0, ""},
		{"netip", "punch/udp.go", importing("punch", "net/netip"), 0, ""},
		{"a duration", "punch/udp.go", call("time", "time.Second"), 0, ""},
		{"seeded randomness", "punch/udp.go", call("math/rand/v2", "rand.New(rand.NewPCG(1, 2))"), 0, ""},
		{"a variable that hides the package", "punch/udp.go",
			"package p\n\nimport \"math/rand/v2\"\n\nfunc f(rand *rand.Rand) int { return rand.IntN(6) }\n", 0, ""},
	})
}

func TestSleep(t *testing.T) {
	const head = "package p\n\nimport (\n\t\"testing\"\n\t\"testing/synctest\"\n\t\"time\"\n)\n\n"
	run(t, checkSleep, []breach{
		{"a sleep", "punch/a_test.go", head + "func TestX(t *testing.T) { time.Sleep(1) }\n", 9, "time.Sleep"},
		{"a sleep beside the bubble", "punch/a_test.go", head +
			"func TestX(t *testing.T) {\n\tsynctest.Test(t, func(t *testing.T) {})\n\ttime.Sleep(1)\n}\n", 11, "time.Sleep"},
		{"in another package's Test", "punch/a_test.go", head + "func TestX(t *testing.T) { x.Test(func() { time.Sleep(1) }) }\n", 9, "time.Sleep"},
		{"in the bubble", "punch/a_test.go", head +
			"func TestX(t *testing.T) {\n\tsynctest.Test(t, func(t *testing.T) {\n\t\tfor {\n\t\t\ttime.Sleep(1)\n\t\t}\n\t})\n}\n", 0, ""},
		{"in a program", "examples/peer/main.go", head + "func main() { time.Sleep(1) }\n", 0, ""},
	})
}
