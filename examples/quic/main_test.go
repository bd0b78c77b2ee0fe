package main

import (
	"strings"
	"testing"
)

func TestThereAndBack(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), 300_000, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "300000 bytes there and back") {
		t.Error(out.String())
	}
}
