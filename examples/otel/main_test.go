package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/examples/internal/cli"
)

// exit is the program: its exit code, with what it says.
func exit(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Exit("otel", run(ctx, args, stdout, stderr), stderr)
}

// What the SDK exports is what the recorder has counted.
func TestExport(t *testing.T) {
	var out, log bytes.Buffer
	if code := exit(t.Context(), []string{"-sessions", "50"}, &out, &log); code != 0 {
		t.Fatalf("exit code %d: %s", code, log.String())
	}
	var got struct {
		ScopeMetrics []struct {
			Metrics []struct {
				Name string
				Data struct {
					DataPoints []struct {
						Attributes []struct {
							Key   string
							Value struct{ Value any }
						}
						Value float64
					}
				}
			}
		}
	}
	if err := json.NewDecoder(&out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			for _, p := range m.Data.DataPoints {
				sums[m.Name] += p.Value
				for _, a := range p.Attributes {
					if a.Key == "result" || a.Key == "status" {
						sums[m.Name+" "+a.Value.Value.(string)] += p.Value
					}
				}
			}
		}
	}
	if sums["bradawl.stages success"] != 50 || sums["bradawl.events recorded"] != 50 || sums["bradawl.sessions"] != 50 ||
		sums["bradawl.sessions direct"] < 30 || sums["bradawl.sessions relayed"] == 0 || sums["bradawl.connect"] == 0 {
		t.Errorf("%v", sums)
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{"-sessions -1": "give 0 or more", "fast": "is not a flag", "-sessions x": "invalid value"} {
		var log bytes.Buffer
		if code := exit(t.Context(), strings.Fields(args), io.Discard, &log); code != 2 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %d %s, want %s", args, code, log.String(), want)
		}
	}
	if code := exit(t.Context(), []string{"-h"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("-h: %d", code)
	}
}
