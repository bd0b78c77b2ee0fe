package cli

import (
	"strings"
	"testing"
)

// TestTeller: text for people, an object a line for programs.
func TestTeller(t *testing.T) {
	for json, want := range map[bool]string{false: "3 of 100 %\nbye\n", true: `{"n":3}` + "\n" + `{"n":0}` + "\n"} {
		var out strings.Builder
		teller := &Teller{W: &out, JSON: json}
		teller.Say(map[string]int{"n": 3}, "%d of 100 %%", 3)
		teller.Say(map[string]int{"n": 0}, "bye")
		if out.String() != want {
			t.Errorf("%q, want %q", &out, want)
		}
	}
}
