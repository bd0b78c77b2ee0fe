package bradawl

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/ice"
	"github.com/bradawl/bradawl/punch"
)

// nowhere is a Signaler that is not asked for anything.
type nowhere struct{ Signaler }

// TestTuningPage holds the defaults in docs/tuning.md to those of the code.
func TestTuningPage(t *testing.T) {
	page, err := os.ReadFile("docs/tuning.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]string) // the cells behind the first, by what that has in backquotes
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if name := strings.TrimSpace(cells[0]); len(cells) > 2 && len(name) > 2 && name[0] == '`' {
			rows[strings.Trim(name, "`")] = cells[1:]
		}
	}
	cfg, err := Config{Signaler: nowhere{}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	memory := "in memory"
	if _, ok := cfg.Memory.(*punch.LaneMemory); !ok {
		memory = fmt.Sprintf("%T", cfg.Memory)
	}
	if _, ok := cfg.History.(*ice.MemoryHistory); !ok {
		memory = fmt.Sprintf("%T", cfg.History)
	}
	usual, polite := punch.Budget{}.WithDefaults(), punch.Polite.WithDefaults()
	held := map[string][]any{
		"Timeout":           {cfg.Timeout},
		"ReadBuffer":        {cfg.ReadBuffer},
		"WatchInterval":     {cfg.WatchInterval},
		"Keepalive":         {cfg.Keepalive},
		"Policy":            {map[Policy]string{Auto: "`Auto`"}[cfg.Policy]},
		"Networks":          {strings.Join(cfg.Networks, " ")},
		"NoPortMapping":     {cfg.NoPortMapping},
		"NoNATProbe":        {cfg.NoNATProbe},
		"Port":              {cfg.Port},
		"Plaintext":         {cfg.Plaintext},
		"Memory`, `History": {memory},
		"Budget.Sockets":    {usual.Sockets, polite.Sockets},
		"Budget.Probes":     {usual.Probes, polite.Probes},
		"Budget.Entries":    {usual.Entries, polite.Entries},
		"Budget.Rate":       {usual.Rate, polite.Rate},
		"Budget.Table":      {usual.Table, polite.Table},
		"Budget.Cooldown":   {usual.Cooldown, polite.Cooldown},
		"Budget.Least":      {usual.Least, polite.Least},
	}
	for name := range rows {
		if held[name] == nil {
			t.Errorf("docs/tuning.md: %s: nothing holds its default to the code's; add it here", name)
		}
	}
	for name, want := range held {
		cells := rows[name]
		for i, w := range want {
			if i >= len(cells) || strings.TrimSpace(cells[i]) != fmt.Sprint(w) {
				t.Errorf("docs/tuning.md: %s: the row has %q, want %v in column %d", name, cells, w, i+2)
			}
		}
	}
}

// TestQuestionsPage: docs/faq.md says of every reason what to do about it.
func TestQuestionsPage(t *testing.T) {
	page, err := os.ReadFile("docs/faq.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Reasons() {
		if !strings.Contains(string(page), fmt.Sprintf("`%v`", r)) {
			t.Errorf("docs/faq.md does not say what to do about %q", r)
		}
	}
	for _, text := range saysOfLanes(t) {
		if !strings.Contains(string(page), text) {
			t.Errorf("docs/faq.md does not say what to do about %q, which explain_why.go may say", text)
		}
	}
}

// TestLanePages: what a lane is, docs/concepts.md and the picture beside it say.
func TestLanePages(t *testing.T) {
	for file, mark := range map[string]string{"docs/concepts.md": "\n| %s |", "docs/pictures/lanes.svg": ">%s</text>"} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range punch.LaneKinds() {
			word := k.String()
			if k == punch.LaneTCP {
				word = "tcp"
			}
			if !strings.Contains(string(page), fmt.Sprintf(mark, word)) {
				t.Errorf("%s says nothing of the lane %s", file, word)
			}
		}
	}
}

// saysOfLanes is what connection.doing may say, as its source has it: of a format the first
// piece of three words.
func saysOfLanes(t *testing.T) (texts []string) {
	file, err := parser.ParseFile(token.NewFileSet(), "explain_why.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	pieces := regexp.MustCompile(`%[-+0-9.]*[a-z%]|[,;]`)
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "doing" {
			ast.Inspect(fn, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					for _, piece := range pieces.Split(text, -1) {
						if len(strings.Fields(piece)) >= 3 {
							texts = append(texts, strings.TrimSpace(piece))
							break
						}
					}
				}
				return true
			})
		}
	}
	if len(texts) < 8 {
		t.Fatalf("only %q were found; is the function still called so?", texts)
	}
	return texts
}
