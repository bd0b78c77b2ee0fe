package punch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestQuestionsNameReasons: docs/faq.md says something of every reason for which a lane is
// ruled out, of those that name no side, or ends.
func TestQuestionsNameReasons(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "faq.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := []string{onBothSides, noneToGuess, notKnown, noMapping, notBlocked, noRoom, noHairpin, sameSequence, tcpUnknown, tcpOnBoth}
	files, err := filepath.Glob("lane*.go")
	if err != nil {
		t.Fatal(err)
	}
	ends := regexp.MustCompile(`(?:m\.end\(now, [\w.]+, |\bwhy = \w+, |\bwhy: )"([^"]+)"`)
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ends.FindAllSubmatch(src, -1) {
			reasons = append(reasons, string(m[1]))
		}
	}
	if len(reasons) < 30 {
		t.Errorf("%d reasons were found, want about 35; is the expression still right?", len(reasons))
	}
	for _, reason := range reasons {
		if !strings.Contains(string(page), reason) {
			t.Errorf("docs/faq.md does not say what to do about %q", reason)
		}
	}
}
