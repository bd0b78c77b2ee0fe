package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	var r record
	if err := json.Unmarshal([]byte(sample().render("json", false)), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Pairs) != 6 || r.TimeoutMS != 10000 || !strings.Contains(r.Command, "examples/matrix") {
		t.Fatalf("%+v", r)
	}
	by := make(map[[2]string]pairRecord)
	for _, p := range r.Pairs {
		by[p.NATs] = p
	}
	hard := by[[2]string{"open", "hard"}]
	if hard.Runs != 3 || hard.Direct != 2 || hard.DirectMS == nil || *hard.DirectMS != 1500 || hard.Packets != [2]int{5, 700} || hard.Ways[0] != "birthday" || hard.Why == "" {
		t.Errorf("%+v", hard)
	}
	if none := by[[2]string{"hard", "closed"}]; none.Runs != 1 || none.Usable != 0 || none.UsableMS != nil || none.DirectMS != nil || none.Why != "silence" {
		t.Errorf("%+v", none)
	}
	if untried := by[[2]string{"closed", "closed"}]; untried.Runs != 0 {
		t.Errorf("%+v", untried)
	}
}
