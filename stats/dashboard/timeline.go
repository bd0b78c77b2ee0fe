package dashboard

import (
	"strconv"
	"time"

	"github.com/bradawl/bradawl/stats"
)

const (
	timelineSpan = time.Hour
	minPane      = 30 * time.Second
)

// timeline is what became of attempts, pane by pane, over the last hour. The recorder keeps
// panes only as long as they may change, so that those before are kept here.
type timeline struct {
	r     *stats.Recorder
	width time.Duration // a multiple of the recorder's hop
	panes map[int64][3]uint64
	began int64 // of the present pane
}

func newTimeline(r *stats.Recorder) *timeline {
	hop := r.Hop()
	return &timeline{r: r, width: (minPane + hop - 1) / hop * hop, panes: make(map[int64][3]uint64)}
}

// look brings the panes up to date: the present one and the one before, and all that the
// recorder has whenever a new one begins.
func (t *timeline) look(now time.Time) {
	width := int64(t.width)
	present := now.UnixNano() / width * width
	first := present - width
	if present != t.began {
		first = (now.UnixNano() - int64(max(t.r.Window(), t.width))) / width * width
		t.began = present
	}
	for at := first; at <= present; at += width {
		var counts [3]uint64
		if all := t.r.Between(time.Unix(0, at), time.Unix(0, at+width)).Outcomes(); len(all) > 0 {
			counts = [3]uint64{all[0].Direct, all[0].Relayed, all[0].Failed}
		}
		if old := t.panes[at]; counts[0]+counts[1]+counts[2] < old[0]+old[1]+old[2] {
			continue // some of it is forgotten already
		}
		t.panes[at] = counts
	}
	for at := range t.panes {
		if at <= present-int64(timelineSpan) || at > present {
			delete(t.panes, at)
		}
	}
}

// each calls a function with each pane: when it began, in milliseconds since 1970.
func (t *timeline) each(show func(key string, counts [3]uint64)) {
	for at, counts := range t.panes {
		show(strconv.FormatInt(at/int64(time.Millisecond), 10), counts)
	}
}
