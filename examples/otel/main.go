// Otel shows a recorder's figures to OpenTelemetry: counters and gauges that are read when
// the SDK collects, here printed as JSON. The function observe is what a program takes along;
// the exporter is the program's own choice.
//
//	otel [-sessions N]
//
// Exit codes: 0 all was printed, 1 something failed, 2 the arguments are wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
)

func main() { cli.Main("otel", run) }

const usage = `usage: otel [-sessions N]

examples:
  otel
      what OpenTelemetry's SDK is shown of 100 made-up sessions
  otel -sessions 5000
      the same of more

exit codes: 0 all was printed, 1 something failed, 2 the arguments are wrong
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("otel", flag.ContinueOnError)
	sessions := flags.Int("sessions", 100, "`number` of sessions that are made up")
	if err := cli.Parse(flags, args, stderr, usage, false); err != nil {
		return cli.Usage(err)
	}
	if *sessions < 0 {
		return cli.Usage(fmt.Errorf("-sessions %d: give 0 or more", *sessions))
	}
	return show(ctx, *sessions, stdout)
}

func show(ctx context.Context, sessions int, stdout io.Writer) error {
	recorder, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		return err
	}
	exporter, err := stdoutmetric.New(stdoutmetric.WithWriter(stdout), stdoutmetric.WithPrettyPrint(), stdoutmetric.WithoutTimestamps())
	if err != nil {
		return err
	}
	provider := sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(exporter)))
	if err := observe(provider.Meter("github.com/bradawl/bradawl/stats"), recorder); err != nil {
		return err
	}
	pretend(recorder, sessions)
	return provider.Shutdown(ctx) // collects and exports once more
}

// observe has a meter read a recorder's figures whenever the SDK collects:
//
//	bradawl.stages    counter: stage, status, local_nat, remote_nat, pair
//	bradawl.sessions  gauge, of the recorder's window: local_nat, result
//	bradawl.connect   gauge, of the recorder's window, in seconds: local_nat, quantile; of those that succeeded
//	bradawl.events    counter: result
func observe(meter metric.Meter, recorder *stats.Recorder) error {
	stages, err1 := meter.Int64ObservableCounter("bradawl.stages", metric.WithDescription("How stages of sessions ended."))
	sessions, err2 := meter.Int64ObservableGauge("bradawl.sessions", metric.WithDescription("What became of the sessions of the last window."))
	connect, err3 := meter.Float64ObservableGauge("bradawl.connect", metric.WithUnit("s"), metric.WithDescription("How long sessions took to connect."))
	events, err4 := meter.Int64ObservableCounter("bradawl.events", metric.WithDescription("What became of the events given to the recorder."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		count := func(to metric.Int64Observable, n uint64, labels ...attribute.KeyValue) {
			if n > 0 {
				o.ObserveInt64(to, int64(n), metric.WithAttributes(labels...))
			}
		}
		for _, c := range recorder.Total().By(stats.ByStage, stats.ByLocal, stats.ByRemote, stats.ByPair) {
			labels := []attribute.KeyValue{
				attribute.String("stage", c.Stage.String()), attribute.String("local_nat", c.Local.String()),
				attribute.String("remote_nat", c.Remote.String()), attribute.String("pair", c.Pair.String()),
			}
			with := func(status string) []attribute.KeyValue {
				return append(labels[:len(labels):len(labels)], attribute.String("status", status))
			}
			count(stages, c.Succeeded, with("success")...)
			count(stages, c.Failed+c.Unreached, with("fail")...)
			count(stages, c.TimedOut, with("time_out")...)
			count(stages, c.Cancelled, with("cancelled")...)
		}
		for _, s := range recorder.Snapshot().Outcomes(stats.ByLocal) {
			nat := attribute.String("local_nat", s.Local.String())
			count(sessions, s.Direct, nat, attribute.String("result", "direct"))
			count(sessions, s.Relayed, nat, attribute.String("result", "relayed"))
			count(sessions, s.Failed, nat, attribute.String("result", "failed"))
			if s.Connect.Succeeded == 0 {
				continue
			}
			for _, q := range []float64{0.5, 0.95} {
				o.ObserveFloat64(connect, s.Connect.Latency.Quantile(q).Seconds(), metric.WithAttributes(nat, attribute.Float64("quantile", q)))
			}
		}
		l := recorder.Ledger()
		count(events, l.Recorded, attribute.String("result", "recorded"))
		count(events, l.Duplicates, attribute.String("result", "duplicate"))
		count(events, l.Late, attribute.String("result", "late"))
		count(events, l.Invalid, attribute.String("result", "invalid"))
		return nil
	}, stages, sessions, connect, events)
	return err
}

// pretend records sessions that never were; in earnest recorder.Record is a session's
// bradawl.Config.Record.
func pretend(recorder *stats.Recorder, sessions int) {
	r := rand.New(rand.NewPCG(1, 1))
	for range sessions {
		id, err := stats.NewID(nil)
		if err != nil {
			return
		}
		e := stats.Event{
			ID: id, Session: id, Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: time.Duration(r.IntN(400)) * time.Millisecond,
			LocalNAT: natprobe.TypePortRestrictedCone, RemoteNAT: natprobe.TypeSymmetric, Pair: stats.PairBirthday, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 9,
		}
		if r.IntN(5) == 0 {
			e.Pair = stats.PairRelay
		}
		recorder.Record(e)
	}
}
