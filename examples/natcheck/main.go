// Natcheck tells what lies between this host and the internet: what NAT there is, what it
// does, and what that means for getting through to others directly.
//
//	natcheck [-stun HOST:PORT,HOST:PORT...] [-tcp] [-lifetime] [-fast] [-json] [-html FILE]
//
// Name first a STUN server that supports RFC 5780 (two addresses); without one the
// filtering stays unknown. With -json, standard output is one JSON object; see
// natprobe.Report for its keys. With -html, the report is also written to a file as one
// page with pictures, which needs no other file and no network; "-" writes it to standard
// output, in place of the text. -lifetime takes some minutes. Exit code 0 means that something
// was found out, also that UDP is blocked; 1, that nothing was, or that the page could not be
// written; 2, that the flags are wrong; one line on standard error says what.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
)

// Public servers that are asked if none are named, the capable one first.
const publicServers = "stunserver2025.stunprotocol.org:3478,stun.l.google.com:19302,stun.cloudflare.com:3478"

func main() { cli.Main("natcheck", run) }

type options struct {
	natprobe.Config
	json bool
	html string // where the page goes; "": nowhere, "-": standard output
}

const usage = `usage: natcheck [-stun HOST:PORT,HOST:PORT...] [-tcp] [-lifetime] [-fast] [-json] [-html FILE]

examples:
  natcheck
      what public servers see of this host
  natcheck -stun stun.example.org:3478 -tcp -html nat.html
      a picture to put into a bug report
  natcheck -stun 192.0.2.1:3478 -fast -json
      for programs, by a server of one's own, such as examples/stunserver
  natcheck -lifetime=2m
      also how long mappings live, up to two minutes

exit codes: 0 something was found out, 1 nothing was, or the page was not written, 2 the flags are wrong
`

func parse(args []string, help io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("natcheck", flag.ContinueOnError)
	stun := flags.String("stun", publicServers, "STUN `servers`, host:port, separated by commas; first one with two addresses (RFC 5780)")
	flags.StringVar(&o.Network, "network", "ip", "address `family` to look at: ip4, ip6, or ip for both")
	flags.BoolVar(&o.Fast, "fast", false, "do not limit the requests to ten a second; for servers of your own")
	flags.DurationVar(&o.Timeout, "timeout", 0, "`time` after which what is not known stays unknown (default 10s)")
	flags.BoolVar(&o.TCP, "tcp", false, "find out how TCP is mapped, too")
	flags.BoolVar(&o.Fragments, "fragments", false, "find out whether packets get through that are too long for one piece")
	flags.Var((*lifetime)(&o.Lifetime), "lifetime", "measure how long mappings live, up to six minutes or, as -lifetime=`time`, up to that")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	flags.StringVar(&o.html, "html", "", "write the report as a page with pictures to `file`, too; - for standard output in place of the text")
	if err := cli.Parse(flags, args, help, usage, false); err != nil {
		return o, err
	}
	if o.json && o.html == "-" {
		return o, errors.New("-json and -html - both want standard output; give -html a file")
	}
	for s := range strings.SplitSeq(*stun, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if err := natprobe.CheckServer(s); err != nil {
			return o, usageOf(err)
		}
		o.Servers = append(o.Servers, s)
	}
	return o, nil
}

// flagOf names the flag behind a field that natprobe refuses.
var flagOf = map[string]string{"Servers": "-stun", "names": "-stun", "Network": "-network", "Timeout": "-timeout", "Lifetime": "-lifetime"}

// usageOf marks what natprobe does not take as the flag's from which it came.
func usageOf(err error) error {
	if wrong, ok := errors.AsType[*natprobe.ConfigError](err); ok {
		return cli.Usage(fmt.Errorf("%s: %s", flagOf[wrong.Field], wrong.Reason))
	}
	return err
}

// lifetime is a flag that may go without a value.
type lifetime time.Duration

func (l *lifetime) String() string   { return time.Duration(*l).String() }
func (l *lifetime) IsBoolFlag() bool { return true }

func (l *lifetime) Set(s string) error {
	switch s {
	case "true":
		*l = lifetime(6 * time.Minute)
		return nil
	case "false":
		*l = 0
		return nil
	}
	d, err := time.ParseDuration(s)
	*l = lifetime(d)
	return err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return cli.Usage(err)
	}
	var to *target
	if o.html != "" {
		if to, err = openTarget(o.html, stdout); err != nil {
			return cli.Usage(err)
		}
		defer to.close()
	}
	line := progressLine{w: stderr, on: cli.IsTerminal(stderr)}
	o.Progress = line.show
	line.text("asking " + strings.Join(o.Servers, ", "))
	report, err := natprobe.Discover(ctx, o.Config)
	line.clear()
	if len(report.Conclusions) == 0 && err != nil {
		return usageOf(err)
	}
	switch {
	case o.html == "-":
	case o.json:
		text, jsonErr := json.MarshalIndent(report, "", "  ")
		if jsonErr != nil {
			return jsonErr
		}
		_, _ = fmt.Fprintln(stdout, string(text)) // who closed our output does not want it
	default:
		_, _ = fmt.Fprint(stdout, report)
	}
	if to != nil {
		page, pageErr := render(&report, o.Servers, time.Now())
		if pageErr == nil {
			pageErr = to.write(page)
		}
		if pageErr != nil {
			return pageErr
		}
	}
	return err
}

// progressLine says on a terminal what is going on, in one line that goes away again.
type progressLine struct {
	w  io.Writer
	on bool
}

func (l *progressLine) show(p natprobe.Progress) {
	text := fmt.Sprintf("%s: %s", p.Family, p.Report.Type.Title())
	switch p.Stage {
	case natprobe.StagePorts:
		text += "; looking at the ports"
	case natprobe.StageLifetime:
		text += "; lifetime " + p.Report.Lifetime.String()
	}
	l.text(text)
}

func (l *progressLine) text(s string) {
	if l.on {
		fmt.Fprintf(l.w, "\r\x1b[K%s …", s)
	}
}

func (l *progressLine) clear() {
	if l.on {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
