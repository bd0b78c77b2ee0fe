package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestExit(t *testing.T) {
	failure := errors.New("no path")
	for _, tt := range []struct {
		err  error
		code int
		says string
	}{
		{nil, Done, ""},
		{flag.ErrHelp, Done, ""},
		{Usage(flag.ErrHelp), Done, ""},
		{Usage(nil), Done, ""},
		{failure, Failed, "peer: no path\n"},
		{fmt.Errorf("%w after 3 pairs", ErrInterrupted), Interrupted, "peer: interrupted after 3 pairs\n"},
		{fmt.Errorf("turnclient: %w", failure), Failed, "peer: no path\n"},
		{errors.Join(fmt.Errorf("natprobe: %w", failure), fmt.Errorf("natprobe: %w", failure)), Failed, "peer: no path; no path\n"},
		{fmt.Errorf("-x: turnclient: netio: %w; natprobe: %w", failure, failure), Failed, "peer: -x: no path; no path\n"},
		{errors.New("no turnclient: here"), Failed, "peer: no turnclient: here\n"},
		{Usage(failure), Wrong, "peer: no path; see peer -h\n"},
		{fmt.Errorf("flags: %w", Usage(failure)), Wrong, "peer: flags: no path; see peer -h\n"},
	} {
		var said bytes.Buffer
		if code := Exit("peer", tt.err, &said); code != tt.code || said.String() != tt.says {
			t.Errorf("%v: code %d, %q, want %d, %q", tt.err, code, &said, tt.code, tt.says)
		}
	}
	if !errors.Is(Usage(failure), failure) {
		t.Error("the error was lost")
	}
}

// TestInterrupted: what an interrupt has cancelled says so; what failed for another reason, or
// was cancelled by somebody else, tells that.
func TestInterrupted(t *testing.T) {
	failure, cancelled := errors.New("no path"), fmt.Errorf("dial: %w", context.Canceled)
	signal := errors.New("a signal")
	over, cancel := context.WithCancelCause(t.Context())
	cancel(signal)
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		says string
	}{
		{t.Context(), cancelled, "dial: context canceled"},
		{over, cancelled, "interrupted before it was done"},
		{over, fmt.Errorf("dial: %w", signal), "interrupted before it was done"},
		{over, failure, "no path"},
		{over, fmt.Errorf("%w after 3 pairs", ErrInterrupted), "interrupted after 3 pairs"},
		{over, nil, "<nil>"},
	} {
		if got := fmt.Sprint(interrupted(tt.ctx, tt.err)); got != tt.says {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.says)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args      string
		arguments bool
		err, help string
	}{
		{"-n 3", false, "", ""},
		{"-n 3 host", true, "", ""},
		{"-n 3 host", false, `"host" is not a flag`, ""},
		{"-n x", false, `invalid value "x" for flag -n: want a whole number`, ""},
		{"-d 5", false, `invalid value "5" for flag -d: want a time with its unit, such as 10s or 1m30s`, ""},
		{"-f 5%", false, `invalid value "5%" for flag -f: want a number, such as 0.05`, ""},
		{"-b=2", false, `invalid boolean value "2" for -b: parse error`, ""},
		{"-b 2", false, `"2" is not a flag`, ""},
		{"-n 1 -o 2m", false, `"2m" is not a flag; did you mean -o=2m?`, ""},
		{"-m", false, "not defined: -m", ""},
		{"-h", false, flag.ErrHelp.Error(), "usage: x\n\nflags:\n  -b\t\n"},
	} {
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		flags.Int("n", 0, "")
		flags.Duration("d", 0, "")
		flags.Float64("f", 0, "")
		flags.Bool("b", false, "")
		flags.BoolFunc("o", "", func(string) error { return nil }) // which goes with and without a value
		var help bytes.Buffer
		err := Parse(flags, strings.Fields(tt.args), &help, "usage: x\n", tt.arguments)
		if fmt.Sprint(err) == "<nil>" != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || !strings.HasPrefix(help.String(), tt.help) || tt.help == "" && help.Len() > 0 {
			t.Errorf("%q: %v and %q, want %q and %q", tt.args, err, &help, tt.err, tt.help)
		}
	}
}

func TestWait(t *testing.T) {
	for took, want := range map[time.Duration]string{
		900 * time.Millisecond:  "",
		1900 * time.Millisecond: "\r\x1b[Kasking, 1 s\r\x1b[K",
		2500 * time.Millisecond: "\r\x1b[Kasking, 1 s\r\x1b[Kasking, 2 s\r\x1b[K",
	} {
		synctest.Test(t, func(t *testing.T) {
			var screen bytes.Buffer
			stop := watch(&screen, func() string { return "asking" })
			time.Sleep(took)
			stop()
			stop() // again does nothing
			if screen.String() != want {
				t.Errorf("after %v %q, want %q", took, &screen, want)
			}
		})
	}
}

func TestNobodyWatches(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if IsTerminal(file) || IsTerminal(new(bytes.Buffer)) || IsColoured(file) {
		t.Error("a file was taken for a terminal")
	}
	Wait(file, "nothing")()
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		err := Within(t.Context(), time.Minute, waits)
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "not done within 1m0s: ") {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Within(ended, time.Minute, waits); err != context.Canceled {
			t.Error(err)
		}
		broken := errors.New("broken")
		if err := Within(t.Context(), time.Minute, func(context.Context) error { return broken }); err != broken {
			t.Error(err)
		}
		if err := Within(t.Context(), time.Minute, func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}
