package sqlstore

import (
	"strings"
	"testing"
)

// A dialect is whole: what is common to all is said, and a migration locks in one way or
// the other.
func TestDialects(t *testing.T) {
	for i, s := range speeches {
		d := Dialect(i)
		if s.name == "" || s.blob == "" || s.lockPanes == "" || d.String() != s.name {
			t.Errorf("%v: %+v", d, s)
		}
		if begins := s.begin != "BEGIN"; begins == (s.lockSchema != "") || !strings.HasPrefix(s.begin, "BEGIN") {
			t.Errorf("%v: %q, then %q", d, s.begin, s.lockSchema)
		}
		// The same number of parameters, however they are written.
		if got := d.sql("BLOB (?, ?, ?)"); strings.Count(got, ",") != 2 || !strings.HasPrefix(got, s.blob+" (") || s.numbered != strings.Contains(got, "$3") {
			t.Errorf("%v: %q", d, got)
		}
	}
	if none := Dialect(len(speeches)); none.known() || none.String() != "Dialect(2)" {
		t.Errorf("%v is known", none)
	}
}
