package hygiene

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

const ruleCore = "core"

// corePackages are the packages that hold protocol machines, each with what lies
// under it. All of their files are core but those that shellFiles names.
var corePackages = []string{"natprobe", "punch", "turnclient", "ice", "internal/stund"}

// notCore are packages under those that talk to something else than the wire.
var notCore = []string{"ice/pionice", "turnclient/dtlstransport", "punch/rendezvous/natsbus"}

// shellFiles are the names under which a protocol package touches the world.
var shellFiles = []string{"io*.go", "sockopt_*.go", "config.go", "doc.go", "*_test.go"}

// rootShell are the root package's files that are not core. All others are, so that a new one
// is: they are the control of a session.
var rootShell = []string{"io*.go", "config.go", "conn.go", "session.go", "signal.go", "keyfile.go", "logging.go", "errors.go", "doc.go", "*_test.go"}

// coreImports are barred from core files. What lies under "net" and "os" is
// barred with it, but for net/netip, which is a value type.
var coreImports = []string{
	"net", "os", "sync", "context", "crypto/rand", "math/rand", "log", "syscall",
	modulePath + "/" + eventLoop,
	modulePath + "/internal/netio",
}

// mayImport are the exceptions to coreImports.
var mayImport = []string{"net/netip", "math/rand/v2"}

// clock is what reads or waits for the machine's clock.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

// randTypes is what math/rand/v2 has beside functions of global state.
var randTypes = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "PCG", "ChaCha8", "Source", "Zipf"}

func isCore(f *goFile) bool {
	if f.pkg == "" {
		return !matchesAny(f.base(), rootShell)
	}
	return withinAny(f.pkg, corePackages) && !withinAny(f.pkg, notCore) && !matchesAny(f.base(), shellFiles)
}

func matchesAny(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// checkCore finds what ties a core file to the world: a core file is plain state
// that a simulator can run.
func checkCore(f *goFile) []finding {
	if !isCore(f) || f.isTest() {
		return nil
	}
	var found []finding
	breach := func(line int, what, remedy string) {
		found = append(found, f.at(line, ruleCore, what, remedy))
	}
	for _, imp := range f.imports() {
		if withinAny(imp.path, coreImports) && !withinAny(imp.path, mayImport) {
			breach(imp.line, fmt.Sprintf("import of %q in a core file", imp.path),
				"move the call to a shell file (io*.go), or take what it gives as an argument")
		}
	}
	for _, u := range uses(f) {
		switch {
		case u.path == "time" && slices.Contains(clock, u.name):
			breach(f.line(u.pos), "time."+u.name+" in a core file", "use the now that the runner hands in, and NextTimeout")
		case u.path == "math/rand/v2" && !slices.Contains(randTypes, u.name):
			breach(f.line(u.pos), "rand."+u.name+" draws from global randomness in a core file", "use the *rand.Rand that is handed in")
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if stmt, ok := n.(*ast.GoStmt); ok {
			breach(f.line(stmt.Pos()), "a goroutine in a core file", "let the shell (io*.go) run it")
		}
		return true
	})
	return found
}

const ruleSleep = "sleep"

// checkSleep finds time.Sleep in tests. In the function given to synctest.Test
// the clock is not the machine's and a sleep takes no time, so it may stand there.
func checkSleep(f *goFile) []finding {
	if !f.isTest() {
		return nil
	}
	all := uses(f)
	var found []finding
	for _, u := range all {
		if u.path == "time" && u.name == "Sleep" && !inBubble(f, all, u) {
			found = append(found, f.at(f.line(u.pos), ruleSleep, "time.Sleep in a test",
				"wait for the event itself, step virtual time, or put it in the function given to synctest.Test"))
		}
	}
	return found
}

// inBubble reports whether u stands within the arguments of a call of synctest.Test.
func inBubble(f *goFile, all []use, u use) bool {
	inside := false
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || u.pos < call.Pos() || u.pos > call.End() {
			return true
		}
		isTest := slices.ContainsFunc(all, func(v use) bool {
			return v.pos == call.Fun.Pos() && strings.HasSuffix(v.path, "testing/synctest") && v.name == "Test"
		})
		inside = inside || isTest && u.pos > call.Lparen
		return true
	})
	return inside
}
