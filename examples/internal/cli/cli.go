package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
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
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted before it was done")
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
var packages = []string{"bradawl", "turnclient", "natprobe", "portmap", "stunserver", "rendezvous", "dashboard"}

// Exit is the exit code for what a program's run returned. But for help, an error is told
// in one line on stderr.
func Exit(program string, err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return Done
	}
	lines := strings.Split(err.Error(), "\n") // of errors that were joined
	for i := range lines {
		for _, name := range packages {
			lines[i] = strings.TrimPrefix(lines[i], name+": ")
		}
	}
	text := strings.Join(lines, "; ")
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
		err = fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	return err
}
