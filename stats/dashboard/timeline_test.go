package dashboard

import (
	"strconv"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats"
)

// Panes stay for an hour, though the recorder forgets them, and late events still count.
func TestTimeline(t *testing.T) {
	now := noon
	r, err := stats.NewRecorder(stats.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	line := newTimeline(r)
	record := func(n uint64, at time.Time, pair stats.PairKind) {
		e := connected(t, n, at, pair)
		if pair == 0 {
			e.Status, e.Reason = stats.StatusTimeOut, "no_path"
		}
		r.Record(e)
	}
	n := uint64(0)
	for i := range 3 * 720 { // three hours, each five seconds
		now = noon.Add(time.Duration(i) * 5 * time.Second)
		record(n, now, []stats.PairKind{stats.PairHost, stats.PairRelay, 0}[i%3])
		n++
		if i%6 == 5 {
			record(n, now.Add(-80*time.Second), stats.PairHost) // late
			n++
		}
		line.look(now)
	}
	panes, full := 0, 0
	var sum [3]uint64
	line.each(func(_ string, counts [3]uint64) {
		panes++
		if counts == [3]uint64{3, 2, 2} {
			full++
		}
		for i, n := range counts {
			sum[i] += n
		}
	})
	if panes != 120 || full < 115 {
		t.Errorf("%d panes, %d of them with all that is due: %v", panes, full, sum)
	}
}

func TestTimelineOfOddHops(t *testing.T) {
	for hop, want := range map[time.Duration]time.Duration{
		time.Millisecond: 30 * time.Second, 700 * time.Millisecond: 30100 * time.Millisecond, 7 * time.Second: 35 * time.Second, time.Minute: time.Minute, time.Hour: time.Hour,
	} {
		r, err := stats.NewRecorder(stats.Config{Hop: hop, Window: 10 * hop, Lateness: -1, Now: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		line := newTimeline(r)
		r.Record(connected(t, 1, noon, stats.PairHost))
		line.look(noon)
		sum := uint64(0)
		line.each(func(key string, counts [3]uint64) {
			// The page finds a pane by when it began, which it works out from the present.
			if began, err := strconv.ParseInt(key, 10, 64); err != nil || began%want.Milliseconds() != 0 {
				t.Errorf("hop %v: a pane of %v begins at %q", hop, want, key)
			}
			sum += counts[0]
		})
		if line.width != want || sum != 1 {
			t.Errorf("hop %v: panes of %v, want %v, with %d events", hop, line.width, want, sum)
		}
	}
}
