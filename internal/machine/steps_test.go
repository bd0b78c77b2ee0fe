package machine

import (
	"slices"
	"testing"
)

func TestSteps(t *testing.T) {
	type state uint8
	const (
		begun state = iota
		going
		over
		unknown
	)
	table := Steps[state]{begun: {going, over}, going: {over}, over: nil}
	for _, c := range []struct {
		from, to   state
		ok, stays  bool
		illegality int
	}{
		{begun, going, true, false, 0}, {begun, over, true, false, 0}, {going, over, true, false, 0},
		{begun, begun, false, true, 0}, {over, over, false, true, 0}, {unknown, unknown, false, true, 0},
		{going, begun, false, true, 1}, {over, begun, false, true, 1}, {begun, unknown, false, true, 1}, {unknown, begun, false, true, 1},
	} {
		at, illegal := c.from, 0
		if ok := table.Step(&at, c.to, &illegal); ok != c.ok || (at == c.from) != c.stays || !c.stays && at != c.to || illegal != c.illegality {
			t.Errorf("from %d to %d: %v, at %d, %d illegal", c.from, c.to, ok, at, illegal)
		}
	}
	next := table.After(begun)
	if !slices.Equal(next, []state{going, over}) || table.After(over) != nil || table.After(unknown) != nil {
		t.Errorf("%v, %v, %v", next, table.After(over), table.After(unknown))
	}
	if next[0] = unknown; table[begun][0] != going {
		t.Error("the table is the caller's")
	}
}
