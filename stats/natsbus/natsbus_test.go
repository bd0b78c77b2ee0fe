package natsbus

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Through crashes of the aggregators between any two stores, each event counts once, and
// what nobody can count is accounted for.
func TestCrashes(t *testing.T) {
	s := runNATS(t, options(t))
	cfg := Config{Conn: dial(t, s.ClientURL()), Shards: 2}
	p, err := NewPublisher(within(t), PublisherConfig{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	const n, rounds = 2000, 6
	events, succeeded := some(1, n)
	agg := aggregate(t, cfg)
	for round := range rounds {
		part := events[round*n/rounds : (round+1)*n/rounds]
		for _, e := range part {
			p.Record(e)
			if round%2 == 0 {
				p.Record(e) // the same again
			}
		}
		least := agg.given()
		await(t, "something was counted", func() bool { return agg.given() > least })
		agg.all[round%2].kill()
		agg.begin(round % 2)
	}
	p.Record(stats.Event{})
	check(t, cfg.Conn.Publish("bradawl.events.0", []byte("no event")))
	check(t, p.Close(within(t)))
	if got := p.Stats(); got.Published < n || got.Dropped != 0 || got.Invalid != 1 || got.Waiting != 0 {
		t.Errorf("%+v", got)
	}
	await(t, "all was counted", func() bool { return agg.given() >= n+1 })
	for _, a := range agg.all {
		check(t, a.Flush(within(t)))
	}
	fleet, err := Read(within(t), cfg, counting)
	if err != nil {
		t.Fatal(err)
	}
	checkFleet(t, fleet, n, succeeded)
	if l := fleet.Ledger(); l.Invalid != 1 || len(fleet.Missing) != 0 {
		t.Errorf("%+v, missing %v", l, fleet.Missing)
	}
	for _, a := range agg.all {
		check(t, a.Close(within(t)))
		check(t, a.Close(within(t)))
	}
}

func checkFleet(t *testing.T, f *Fleet, n int, succeeded uint64) {
	t.Helper()
	l := f.Ledger()
	if l.Recorded != uint64(n) || l.Late != 0 {
		t.Errorf("%+v, want %d recorded", l, n)
	}
	for name, snapshot := range map[string]*stats.Snapshot{"total": f.Total(), "window": f.Snapshot(), "panes": f.Between(time.Now().Add(-9*time.Minute), time.Now().Add(time.Minute))} {
		all := snapshot.By()
		if len(all) != 1 || all[0].Events() != uint64(n) || all[0].Succeeded != succeeded {
			t.Errorf("%s: %+v, want %d events, of which %d succeeded", name, all, n, succeeded)
		}
	}
}

// A cluster of three loses a server while events flow: none is lost, none counts twice.
func TestClusterLosesOne(t *testing.T) {
	servers, urls := runCluster(t)
	cfg := Config{Conn: dial(t, urls...), Shards: 2, Replicas: 3}
	p, err := NewPublisher(within(t), PublisherConfig{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	agg := aggregate(t, cfg)
	const n = 3000
	events, succeeded := some(2, n)
	for _, e := range events[:n/2] {
		p.Record(e)
	}
	await(t, "something was counted", func() bool { return agg.given() > 50 })
	for _, s := range servers { // the one that we are connected to
		if s.ID() == cfg.Conn.ConnectedServerId() {
			s.Shutdown()
			s.WaitForShutdown()
			break
		}
	}
	for _, e := range events[n/2:] {
		p.Record(e)
	}
	check(t, p.Close(within(t)))
	await(t, "all was counted", func() bool { return agg.given() >= n })
	await(t, "all was stored", func() bool {
		for _, a := range agg.all {
			if err := a.Flush(within(t)); err != nil {
				return false
			}
		}
		return true
	})
	fleet, err := Read(within(t), cfg, counting)
	if err != nil {
		t.Fatal(err)
	}
	checkFleet(t, fleet, n, succeeded)
	t.Logf("%+v", p.Stats())
}

// Of two aggregators for one shard, one goes on.
func TestReplaced(t *testing.T) {
	s := runNATS(t, options(t))
	cfg := Config{Conn: dial(t, s.ClientURL()), Shards: 1}
	p, err := NewPublisher(within(t), PublisherConfig{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	var both []*Aggregator
	for range 2 {
		a, err := NewAggregator(within(t), AggregatorConfig{Config: cfg, Recorder: counting, Every: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.kill)
		both = append(both, a)
	}
	events, succeeded := some(3, 100)
	for _, e := range events {
		p.Record(e)
	}
	check(t, p.Close(within(t)))
	for _, a := range both {
		await(t, "all was counted", func() bool { return a.Recorder().Ledger().Given() == 100 })
	}
	check(t, both[1].Flush(within(t)))
	if err := both[0].Flush(within(t)); !errors.Is(err, ErrReplaced) {
		t.Errorf("%v, want %v", err, ErrReplaced)
	}
	<-both[0].Done()
	if err := both[0].Err(); !errors.Is(err, ErrReplaced) {
		t.Errorf("it has ended by %v", err)
	}
	fleet, err := Read(within(t), cfg, counting)
	if err != nil {
		t.Fatal(err)
	}
	checkFleet(t, fleet, 100, succeeded)
}

// An answer of NATS's that got lost is no other aggregator: the record that it was about is
// found to be one of ours, and no state is left behind.
func TestLostAnswer(t *testing.T) {
	s := runNATS(t, options(t))
	cfg := Config{Conn: dial(t, s.ClientURL()), Shards: 1}
	a, err := NewAggregator(within(t), AggregatorConfig{Config: cfg, Recorder: counting, Every: time.Hour})
	check(t, err)
	check(t, a.Flush(within(t)))
	a.kill() // so that we may do its work
	a.counted = 7
	lost := record{a.counted, "shard.0.lost"}
	_, err = a.store.states.PutBytes(within(t), lost.Object, a.recorder.AppendState(nil))
	check(t, err)
	_, err = a.store.shards.Update(within(t), "shard.0", []byte(`{"sequence":7,"object":"shard.0.lost"}`), a.revision)
	check(t, err)
	a.unsure = append(a.unsure, lost)
	a.counted = 8
	if err := a.save(within(t)); err == nil || errors.Is(err, ErrReplaced) || a.saved != 7 || a.object != lost.Object {
		t.Errorf("%v; saved up to %d in %s", err, a.saved, a.object)
	}
	check(t, a.save(within(t)))
	left, err := a.store.states.List(within(t))
	if err != nil || len(left) != 1 || left[0].Name != a.object || a.saved != 8 || len(a.unsure) != 0 {
		t.Errorf("%d states are left, %v; saved up to %d, unsure of %v", len(left), err, a.saved, a.unsure)
	}
}

// Who comes later changes nothing of what is there: not even a reader with another Config.
func TestFound(t *testing.T) {
	s := runNATS(t, options(t))
	nc := dial(t, s.ClientURL())
	p, err := NewPublisher(within(t), PublisherConfig{Config: Config{Conn: nc, MaxAge: time.Hour}})
	check(t, err)
	check(t, p.Close(within(t)))
	_, err = Read(within(t), Config{Conn: nc}, counting)
	check(t, err)
	js, err := jetstream.New(nc)
	check(t, err)
	stream, err := js.Stream(within(t), "bradawl-events")
	check(t, err)
	if got := stream.CachedInfo().Config.MaxAge; got != time.Hour {
		t.Errorf("MaxAge is %v now, was an hour", got)
	}
}

// While NATS is away nothing blocks; what there is no room for is dropped and counted, and
// the rest gets through when it is back.
func TestNATSAway(t *testing.T) {
	opts := options(t)
	s := runNATS(t, opts)
	at := s.ClientURL()
	cfg := Config{Conn: dial(t, at), Shards: 1}
	p, err := NewPublisher(within(t), PublisherConfig{Config: cfg, Queue: 100})
	check(t, err)
	agg := aggregate(t, cfg)
	lost := make(chan struct{}, 1)
	cfg.Conn.SetDisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })
	opts.Port = s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	<-lost
	events, _ := some(4, 1000)
	for _, e := range events {
		p.Record(e)
	}
	if got := p.Stats(); got.Dropped < 1000-100-batch || got.Dropped+got.Waiting != 1000 {
		t.Errorf("%+v", got)
	}
	runNATS(t, opts)
	check(t, p.Close(within(t)))
	got := p.Stats()
	if got.Published+got.Dropped != 1000 || got.Published < 100 {
		t.Errorf("%+v", got)
	}
	await(t, "what was published is counted", func() bool { return agg.given() == got.Published })
	t.Logf("%+v", got)
}

// Close gives up when it is told to, and says what that costs.
func TestCloseInTime(t *testing.T) {
	s := runNATS(t, options(t))
	cfg := Config{Conn: dial(t, s.ClientURL()), Shards: 1}
	p, err := NewPublisher(within(t), PublisherConfig{Config: cfg})
	check(t, err)
	s.Shutdown()
	s.WaitForShutdown()
	events, _ := some(5, 50)
	for _, e := range events {
		p.Record(e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Close(ctx); !errors.Is(err, context.Canceled) || p.Stats().Dropped != 50 {
		t.Errorf("%v, %+v", err, p.Stats())
	}
	p.Record(events[0])
	if got := p.Stats(); got.Dropped != 51 {
		t.Errorf("recorded after Close: %+v", got)
	}
}

func TestConfig(t *testing.T) {
	s := runNATS(t, options(t))
	nc := dial(t, s.ClientURL())
	for field, cfg := range map[string]AggregatorConfig{
		"Conn":     {},
		"Shards":   {Config: Config{Conn: nc, Shards: 257}},
		"Replicas": {Config: Config{Conn: nc, Replicas: -1}},
		"MaxAge":   {Config: Config{Conn: nc, MaxAge: time.Second}},
		"Prefix":   {Config: Config{Conn: nc, Prefix: "a.b"}},
		"Shard":    {Config: Config{Conn: nc}, Shard: 4},
		"Every":    {Config: Config{Conn: nc}, Every: -1},
		"Hop":      {Config: Config{Conn: nc}, Recorder: stats.Config{Hop: 1}},
	} {
		var ours *ConfigError
		var theirs *stats.ConfigError
		_, err := NewAggregator(within(t), cfg)
		if !(errors.As(err, &ours) && ours.Field == field) && !(errors.As(err, &theirs) && theirs.Field == field) {
			t.Errorf("%v, want something of %s", err, field)
		}
	}
	if _, err := NewPublisher(within(t), PublisherConfig{Config: Config{Conn: nc}, Queue: -1}); err == nil {
		t.Error("a queue of -1 events")
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewPublisher(cancelled, PublisherConfig{Config: Config{Conn: nc}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	fleet, err := Read(within(t), Config{Conn: nc}, stats.Config{})
	if err != nil || len(fleet.Missing) != 4 || len(fleet.Total().Cells) != 0 {
		t.Errorf("%+v, %v", fleet, err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An event from a publisher through NATS into a recorder, 10,000 of them together.
func BenchmarkEvents(b *testing.B) {
	s := runNATS(b, options(b))
	cfg := Config{Conn: dial(b, s.ClientURL()), Shards: 1}
	const n = 10_000
	p, err := NewPublisher(within(b), PublisherConfig{Config: cfg, Queue: n})
	check(b, err)
	agg := aggregate(b, cfg)
	seed, given := uint64(10), uint64(0)
	for b.Loop() {
		seed++
		events, _ := some(seed, n)
		for _, e := range events {
			p.Record(e)
		}
		given += n
		await(b, "all was counted", func() bool { return agg.given() == given })
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(given), "us/event")
	check(b, p.Close(within(b)))
}
