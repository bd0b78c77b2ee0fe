package stats

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// Some events of a fleet, without times, which the benchmark gives.
func fleet(n int, groups int) []Event {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]Event, n)
	for i := range all {
		all[i] = anyEvent(r, groups)
	}
	return all
}

// anyEvent draws an event of a session, with an ID, and no time.
func anyEvent(r *rand.Rand, groups int) Event {
	e := Event{
		Stage: StageConnect, Status: StatusSuccess, Latency: time.Duration(50e6 * (1 + r.ExpFloat64())).Truncate(time.Microsecond),
		LocalNAT: natprobe.Type(r.IntN(8)), RemoteNAT: natprobe.Type(r.IntN(8)),
		Pair: PairKind(1 + r.IntN(7)), Protocol: ProtocolUDP, IPVersion: 4 + 2*r.IntN(2), Tries: 1 + r.IntN(40), Lane: "plain",
	}
	if groups > 0 {
		e.Group = fmt.Sprintf("arm-%d", r.IntN(groups))
	}
	switch r.IntN(10) {
	case 0:
		e.Stage = StageGather
		e.Pair, e.Protocol, e.IPVersion = 0, 0, 0
	case 1:
		e.Status, e.Reason, e.Lane = StatusTimeOut, "unanswered", ""
		e.Pair, e.Protocol, e.IPVersion = 0, 0, 0
	case 2:
		e.Stage, e.Pair = StageUpgrade, PairSrflx
	}
	binary.LittleEndian.PutUint64(e.ID[:], r.Uint64())
	binary.LittleEndian.PutUint64(e.ID[8:], r.Uint64())
	binary.LittleEndian.PutUint64(e.Session[:], r.Uint64())
	e.Session[15] = 1
	return e
}

var epoch = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// One event into a recorder, all IDs different, of so many different keys, with so many
// events a pane.
func BenchmarkRecord(b *testing.B) {
	for _, of := range []struct{ keys, pane int }{{100, 10_000}, {2000, 10_000}, {2000, 1_000_000}} {
		b.Run(fmt.Sprintf("keys=%d/pane=%d", of.keys, of.pane), func(b *testing.B) {
			now := epoch
			r, err := NewRecorder(Config{Now: func() time.Time { return now }})
			if err != nil {
				b.Fatal(err)
			}
			events := fleet(4096, 2)
			for i := range events {
				key := events[i%of.keys]
				key.ID, key.Latency = events[i].ID, events[i].Latency
				events[i] = key
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				e := &events[i%len(events)]
				if i++; i%of.pane == 0 {
					now = now.Add(r.Hop())
				}
				e.Time = now
				binary.LittleEndian.PutUint64(e.ID[:], binary.LittleEndian.Uint64(e.ID[:])+0x9e3779b97f4a7c15)
				r.Record(*e)
			}
			if l := r.Ledger(); l.Recorded != uint64(i) || l.Overflown != 0 {
				b.Fatalf("%+v of %d", l, i)
			}
		})
	}
}

// The present window of 10,000 cells, each of so many events, and what a cell takes.
func BenchmarkSnapshot(b *testing.B) {
	for _, events := range []int{30, 300} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			const cells = 10_000
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			now := epoch
			r, err := NewRecorder(Config{MaxCells: cells + 100, MaxIDs: -1, Now: func() time.Time { return now }})
			if err != nil {
				b.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(3, 4))
			for i := range cells * events {
				key := i % cells
				e := anyEvent(rnd, 0)
				e.Stage, e.Status, e.Pair = StageConnect, StatusSuccess, PairKind(1+key%7)
				e.LocalNAT, e.RemoteNAT = natprobe.Type(key/7%8), natprobe.Type(key/7/8%8)
				e.Protocol, e.IPVersion, e.Group, e.Time = ProtocolUDP, 4, fmt.Sprintf("arm-%d", key/7/64), now
				r.Record(e)
				if i%(cells*events/10) == 0 {
					now = now.Add(r.Hop())
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			var s *Snapshot
			b.ReportAllocs()
			for b.Loop() {
				s = r.Snapshot()
			}
			b.ReportMetric(float64(len(s.Cells)), "cells")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(s.Cells)), "heapB/cell")
		})
	}
}
