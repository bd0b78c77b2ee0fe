package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// Limits of what detectors send.
const (
	// MaxMessage is the most bytes of a body or frame.
	MaxMessage = 256 << 10
	// MaxReports is the most reports of a list.
	MaxReports = 100
	// MaxEvents is the most events of a report.
	MaxEvents = 100
)

// Report is what a detector tells: that it is there, where, behind what, and what became of
// attempts to connect since its last one. Detector is needed. In JSON its fields are detector,
// time (RFC 3339), nat (see Class), place and events (see stats.Event), and what is zero is
// left out.
type Report struct {
	Detector stats.ID      // random, made by the program at each start: it names nobody
	Time     time.Time     // when it was sent, by the detector's clock; zero: when it arrives
	NAT      natprobe.Type // that it is behind
	Place    Place         // where it is; zero: not told, to be looked up if Config.Locate can
	Events   []stats.Event // at most MaxEvents
}

// Validate returns a *ReportError, or a *stats.EventError, for the first thing that is wrong
// with the report, nil if nothing is.
func (r *Report) Validate() error {
	if err := r.validateHead(); err != nil {
		return err
	}
	if len(r.Events) > MaxEvents {
		return badReport("events", "%d are too many; send at most %d at a time", len(r.Events), MaxEvents)
	}
	for i := range r.Events {
		if err := r.Events[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) validateHead() error {
	const lastYear = 9999 // that RFC 3339 has
	switch year := r.Time.UTC().Year(); {
	case r.Detector.IsZero():
		return badReport("detector", "is missing; make one with stats.NewID when the program starts")
	case !r.Time.IsZero() && (year < 1970 || year > lastYear):
		return badReport("time", "year %d is out of range; give one from 1970 to %d", year, lastYear)
	case int(r.NAT) >= len(classes):
		return badReport("nat", "%d is out of range; use a constant of natprobe", r.NAT)
	}
	return nil
}

// reportJSON is a report as JSON has it. Its events are looked at one by one, so that a bad
// one does not spoil the others.
type reportJSON struct {
	Detector stats.ID          `json:"detector"`
	Time     time.Time         `json:"time,omitzero"`
	NAT      *string           `json:"nat,omitempty"`
	Place    Place             `json:"place,omitzero"`
	Events   []json.RawMessage `json:"events,omitempty"`
}

// MarshalJSON writes the report. The error is that of Validate.
func (r Report) MarshalJSON() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	class := Class(r.NAT)
	j := reportJSON{Detector: r.Detector, NAT: &class, Place: r.Place}
	if !r.Time.IsZero() {
		j.Time = r.Time.UTC().Truncate(time.Millisecond)
	}
	for i := range r.Events {
		data, err := json.Marshal(r.Events[i])
		if err != nil {
			return nil, err
		}
		j.Events = append(j.Events, data)
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote, here or at a stranger's. Names that it does not
// know are passed over. The error is that of Validate, and leaves r as it was.
func (r *Report) UnmarshalJSON(data []byte) error {
	got, bad, err := decodeReport(data)
	if err == nil {
		err = bad.first
	}
	if err != nil {
		return err
	}
	*r = got
	return nil
}

// badEvents are those of a report that cannot be used.
type badEvents struct {
	n     int
	first error // what is wrong with one of them
}

func (b *badEvents) add(n int, err error) {
	b.n += n
	if b.first == nil {
		b.first = err
	}
}

// decodeReport reads a report, and those of its events that can be used.
func decodeReport(data []byte) (Report, badEvents, error) {
	var (
		j   *reportJSON
		bad badEvents
	)
	if err := json.Unmarshal(data, &j); err != nil {
		if wrong, ok := errors.AsType[*ReportError](err); ok {
			return Report{}, bad, wrong
		}
		return Report{}, bad, badReport("", "%s", cut(strings.TrimPrefix(err.Error(), "stats: ")))
	}
	if j == nil {
		return Report{}, bad, badReport("", "is null; send a JSON object")
	}
	r := Report{Detector: j.Detector, Time: j.Time, Place: j.Place}
	if j.NAT != nil {
		var ok bool
		if r.NAT, ok = ParseClass(*j.NAT); !ok {
			return Report{}, bad, badReport("nat", "%q is none; want one of %q", cut(*j.NAT), classes)
		}
	}
	if err := r.validateHead(); err != nil {
		return Report{}, bad, err
	}
	if len(j.Events) > MaxEvents {
		return Report{}, bad, badReport("events", "%d are too many; send at most %d at a time", len(j.Events), MaxEvents)
	}
	for _, raw := range j.Events {
		var e stats.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			bad.add(1, err)
			continue
		}
		if e.ID.IsZero() { // of null, which json passes over
			bad.add(1, badReport("events", "one is null; send JSON objects"))
			continue
		}
		r.Events = append(r.Events, e)
	}
	return r, bad, nil
}

// split returns the reports of a message, which is one or a list.
func split(data []byte) ([]json.RawMessage, error) {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 {
		return nil, badReport("", "is empty; send a JSON object, or a list of them")
	}
	if data[0] != '[' {
		return []json.RawMessage{data}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, badReport("", "%s", cut(err.Error()))
	}
	if len(list) > MaxReports {
		return nil, badReport("", "%d are too many; send at most %d at a time", len(list), MaxReports)
	}
	return list, nil
}
