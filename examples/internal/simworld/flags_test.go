package simworld

import (
	"bytes"
	"flag"
	"io"
	"strings"
	"testing"
)

func TestNATFlags(t *testing.T) {
	const usual = "port-restricted-cone"
	for _, tt := range []struct {
		args string
		want [2]string
		says string
	}{
		{"", [2]string{usual, usual}, ""},
		{"-nat-a open", [2]string{"open", usual}, ""},
		{"-nat-b cgnat -nat-a open", [2]string{"open", "cgnat"}, ""},
		{"-nat-b conical", [2]string{usual, usual}, `for flag -nat-b: unknown NAT preset "conical": choose one of`},
		{"-nat-a=", [2]string{usual, usual}, `for flag -nat-a: unknown NAT preset "": choose one of`},
	} {
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		var nats [2]string
		NATFlags(flags, &nats)
		err := flags.Parse(strings.Fields(tt.args))
		if nats != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %q, %v, want %q, %q", tt.args, nats, err, tt.want, tt.says)
		}
	}
	var help bytes.Buffer
	flags := flag.NewFlagSet("x", flag.ContinueOnError)
	NATFlags(flags, new([2]string))
	flags.SetOutput(&help)
	flags.PrintDefaults()
	for _, want := range []string{"-nat-a preset", "alice sits behind", "symmetric-random", "-nat-b preset", "bob's NAT", "(default " + usual + ")"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("no %q in\n%s", want, &help)
		}
	}
}
