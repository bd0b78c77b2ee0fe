package bradawl

import (
	"fmt"
	"os"
	"strings"
	"testing"

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
	usual, polite := punch.Budget{}.WithDefaults(), punch.Polite.WithDefaults()
	for name, want := range map[string][]any{
		"Timeout":         {cfg.Timeout},
		"ReadBuffer":      {cfg.ReadBuffer},
		"WatchInterval":   {cfg.WatchInterval},
		"Keepalive":       {cfg.Keepalive},
		"Networks":        {strings.Join(cfg.Networks, " ")},
		"Budget.Sockets":  {usual.Sockets, polite.Sockets},
		"Budget.Probes":   {usual.Probes, polite.Probes},
		"Budget.Entries":  {usual.Entries, polite.Entries},
		"Budget.Rate":     {usual.Rate, polite.Rate},
		"Budget.Table":    {usual.Table, polite.Table},
		"Budget.Cooldown": {usual.Cooldown, polite.Cooldown},
		"Budget.Least":    {usual.Least, polite.Least},
	} {
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
}
