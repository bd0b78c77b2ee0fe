package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// The exit codes.
const (
	Done        = 0 // it went well, or help was asked for
	Failed      = 1
	Wrong       = 2   // the program was called in a wrong way, and did nothing
	Interrupted = 130 // what there was so far was printed
)

// ErrInterrupted is that a program was interrupted, and has printed what there was so far.
var ErrInterrupted = errors.New("interrupted")

// Main runs a program and exits with its code. The first interrupt ends the program's context,
// the second one the program.
func Main(program string, run func(ctx context.Context, args []string, stdout, stderr io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal is not caught
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(Exit(program, interrupted(ctx, err), os.Stderr))
}

// interrupted is the error of a program, which may have come of an interrupt and not know it.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return errors.New("interrupted before it was done")
	}
	return err
}

// Within gives run a time limit; an error that came of that says so.
func Within(ctx context.Context, limit time.Duration, run func(context.Context) error) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := run(within)
	if err != nil && ctx.Err() == nil && errors.Is(within.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not done within %v: %w", limit, err)
	}
	return err
}

// usageError is how a program must not be called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usage marks an error as the caller's, for [Exit]. It leaves nil and flag.ErrHelp alone.
func Usage(err error) error {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err}
}

// packages start their errors with their names, which say nothing to whoever runs a program.
var packages = regexp.MustCompile(`(^|: |; |\n)(?:(?:bradawl|ice|punch|stats|turnclient|natprobe|portmap|stunserver|rendezvous|dashboard|natsbus|netio): )+`)

// Exit is the exit code for what a program's run returned. But for help, an error is told
// in one line on stderr.
func Exit(program string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return Done
	}
	text := packages.ReplaceAllString(err.Error(), "$1")
	text = strings.ReplaceAll(text, "\n", "; ") // of errors that were joined
	if wrong := (usageError{}); errors.As(err, &wrong) {
		fmt.Fprintf(stderr, "%s: %s; see %s -h\n", program, text, program)
		return Wrong
	}
	fmt.Fprintf(stderr, "%s: %s\n", program, text)
	if errors.Is(err, ErrInterrupted) {
		return Interrupted
	}
	return Failed
}

// Parse parses args, and writes usage and the flags to help if they ask for it; the error is
// flag.ErrHelp then. usage has the command line, examples and exit codes. Nothing but flags is
// taken, unless arguments are wanted.
func Parse(flags *flag.FlagSet, args []string, help io.Writer, usage string, arguments bool) error {
	flags.SetOutput(io.Discard) // errors are told once, by Exit
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(help, "%s\nflags:\n", usage)
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	if err == nil && !arguments && flags.NArg() > 0 {
		before := args[:len(args)-flags.NArg()]
		return stray(flags, flags.Arg(0), before)
	}
	return remedy(flags, err)
}

// stray says that an argument is none, and how it may have been meant, after those before it.
func stray(flags *flag.FlagSet, arg string, before []string) error {
	if len(before) > 0 && strings.HasPrefix(before[len(before)-1], "-") {
		f := flags.Lookup(strings.TrimLeft(before[len(before)-1], "-"))
		if _, plain := valueOf(f).(bool); f != nil && !plain { // it may go without a value, so that one takes a =
			return fmt.Errorf("%q is not a flag; did you mean -%s=%s?", arg, f.Name, arg)
		}
	}
	return fmt.Errorf("%q is not a flag", arg)
}

var notParsed = regexp.MustCompile(`for (?:flag )?-(\S+): parse error$`)

// remedy says what a flag wants whose value could not be read.
func remedy(flags *flag.FlagSet, err error) error {
	if err == nil {
		return nil
	}
	match := notParsed.FindStringSubmatch(err.Error())
	if match == nil {
		return err
	}
	want := ""
	switch valueOf(flags.Lookup(match[1])).(type) {
	case time.Duration:
		want = "a time with its unit, such as 10s or 1m30s"
	case float64:
		want = "a number, such as 0.05"
	case int, int64, uint, uint64:
		want = "a whole number"
	default:
		return err
	}
	return errors.New(strings.TrimSuffix(err.Error(), "parse error") + "want " + want)
}

// valueOf is what a flag has, if that is of a type that package flag knows.
func valueOf(f *flag.Flag) any {
	if f == nil {
		return nil
	}
	if get, ok := f.Value.(flag.Getter); ok {
		return get.Get()
	}
	return nil
}
