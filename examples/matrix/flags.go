package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/simnet"
)

// selection is what is measured where nobody says what.
var selection = []string{
	"open", "full-cone", "restricted-cone", "port-restricted-cone", "symmetric-preserving",
	"symmetric-sequential", "symmetric-block", "symmetric-random", "cgnat", "udp-blocked",
}

// What may be asked for.
const (
	mostRuns     = 1000
	mostParallel = 1000
	mostLoss     = 0.5
)

// everyNAT stands for all presets.
const everyNAT = "all"

var formats = []string{"text", "markdown", "svg", "json"}

type options struct {
	nats     []string
	runs     int
	loss     float64 // of a packet from one peer to the other
	format   string
	file     string // "": standard output
	seed     uint64
	parallel int
	timeout  time.Duration
	verbose  bool
}

// perProcessor is how many worlds run at once on each processor: they wait nearly always.
const perProcessor = 16

func defaults() options {
	return options{
		nats: selection, runs: 3, format: "text", seed: 1, parallel: perProcessor * runtime.GOMAXPROCS(0), timeout: 10 * time.Second,
	}
}

const usage = `usage: matrix [-nats A,B,C] [-runs N] [-loss P] [-format text|markdown|svg|json] [-o FILE] [-seed N] [-parallel N] [-v]

examples:
  matrix -nats full-cone,symmetric-random -runs 1
      three pairs in some seconds
  matrix
      ten kinds of NAT against each other, three connections a pair
  matrix -nats all -runs 20 -loss 2% -o table.svg
      a picture of all that there are, with losses
  matrix -json
      for programs

exit codes: 0 all was measured, 1 something could not be, 2 the flags are wrong, 130 interrupted
`

func parse(args []string, help io.Writer) (options, error) {
	o := defaults()
	flags := flag.NewFlagSet("matrix", flag.ContinueOnError)
	nats := flags.String("nats", strings.Join(o.nats, ","), "`presets` of NATs, separated by commas, or "+everyNAT+": "+strings.Join(simnet.PresetNames(), ", "))
	flags.IntVar(&o.runs, "runs", o.runs, "`number` of connections for each pair")
	loss := flags.String("loss", "0", "`share` of the packets that is lost on the way from peer to peer, such as 0.02 or 2%")
	flags.StringVar(&o.format, "format", o.format, "`form` of the table: "+strings.Join(formats, ", ")+"; by default what the name of -o ends in")
	flags.StringVar(&o.file, "o", "", "`file` to write the table to; by default standard output")
	flags.Uint64Var(&o.seed, "seed", o.seed, "`number` that the simulated internets' luck comes from")
	flags.IntVar(&o.parallel, "parallel", o.parallel, "`number` of connections at a time; with too many of them the processors are what is measured")
	flags.DurationVar(&o.timeout, "timeout", o.timeout, "`time` that a connection may take to become direct")
	flags.BoolVar(&o.verbose, "v", false, "say on standard error what became of each connection")
	asJSON := flags.Bool("json", false, "the same as -format json")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case *asJSON && given["format"] && o.format != "json":
		return o, fmt.Errorf("-json and -format %s: want one of them", o.format)
	case *asJSON:
		o.format = "json"
	case !given["format"]:
		o.format = formatOf(o.file)
	}
	var err error
	if o.nats, err = presets(*nats); err != nil {
		return o, fmt.Errorf("-nats: %w", err)
	}
	if o.loss, err = share(*loss); err != nil {
		return o, fmt.Errorf("-loss %q: %w", *loss, err)
	}
	switch {
	case o.runs < 1 || o.runs > mostRuns:
		return o, fmt.Errorf("-runs %d: want 1 to %d", o.runs, mostRuns)
	case o.parallel < 1 || o.parallel > mostParallel:
		return o, fmt.Errorf("-parallel %d: want 1 to %d", o.parallel, mostParallel)
	case !slices.Contains(formats, o.format):
		return o, fmt.Errorf("-format %q: want one of %s", o.format, strings.Join(formats, ", "))
	case o.timeout < time.Second || o.timeout > 10*time.Minute:
		return o, fmt.Errorf("-timeout %v: want 1s to 10m", o.timeout)
	}
	return o, nil
}

// presets are the names in a list.
func presets(list string) ([]string, error) {
	if list == everyNAT {
		return simnet.PresetNames(), nil
	}
	var all []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if _, err := simnet.PresetByName(name); err != nil {
			return nil, err
		}
		if slices.Contains(all, name) {
			return nil, fmt.Errorf("%q is there twice; name each preset once", name)
		}
		all = append(all, name)
	}
	return all, nil
}

// share reads a share, as a number or in per cent.
func share(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		p /= 100
	}
	if err != nil || math.IsNaN(p) || p < 0 || p > mostLoss {
		return 0, fmt.Errorf("want a share from 0 to %v, such as 0.02 or 2%%", mostLoss)
	}
	return p, nil
}

// formatOf is the format that a file's name asks for.
func formatOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".svg":
		return "svg"
	case ".md", ".markdown":
		return "markdown"
	case ".json":
		return "json"
	}
	return "text"
}

// command is what makes the same table again.
func (o options) command() string {
	d := defaults()
	text := "go run ./examples/matrix"
	add := func(name string, value any, needed bool) {
		if needed {
			text += fmt.Sprintf(" -%s %v", name, value)
		}
	}
	nats := strings.Join(o.nats, ",")
	if slices.Equal(o.nats, simnet.PresetNames()) {
		nats = everyNAT
	}
	add("nats", nats, !slices.Equal(o.nats, d.nats))
	add("runs", o.runs, o.runs != d.runs)
	add("loss", o.loss, o.loss != 0)
	add("seed", o.seed, o.seed != d.seed)
	add("timeout", o.timeout, o.timeout != d.timeout)
	add("format", o.format, o.format != d.format)
	return text
}
