package main

import (
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), 3, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "hello visitor-3, you came by direct udp") {
		t.Error(out.String())
	}
}
