package stats

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// Limits of an event.
const (
	// MaxEvent is the most bytes of an event in JSON.
	MaxEvent = 2048
	// MaxWord is the most characters of Group, Lane and Reason.
	MaxWord = 64
	// MaxLatency is the greatest latency.
	MaxLatency = 30 * 24 * time.Hour
	// MaxTries is the greatest number of tries.
	MaxTries = 1_000_000
)

// lastSecond is that of the year 9999, the last that RFC 3339 has.
const lastSecond = 253402300799

// Event is the outcome of one stage of one session, as one of its two sides saw it. ID,
// Session, Time, Stage and Status are needed; [Event.Validate] says what else must hold.
//
// In JSON its fields are event_id, session_id, time (RFC 3339), ab_group, stage, status,
// latency_ms, local_nat, remote_nat, pair, protocol, ip_version, tries, lane and reason,
// in this order. All but the five that are needed and latency_ms are left out when zero.
//
// Group, Lane and Reason are words for counting: at most MaxWord characters of a-z, 0-9,
// '_' and '-'. There is no room in them for an address, a name or a sentence.
type Event struct {
	ID      ID        // of the event; one that comes twice is the same event
	Session ID        // which the stage belongs to
	Time    time.Time // when the stage ended, by the client's clock; JSON has it in whole milliseconds
	Group   string    // of the experiment that the session is part of; "": of none

	Stage   Stage
	Status  Status
	Latency time.Duration // from the stage's beginning to its end; JSON has it in whole microseconds

	LocalNAT, RemoteNAT natprobe.Type // of the side that tells, and of its peer

	Pair      PairKind // of the path; none where no path came of it
	Protocol  Protocol // of the path
	IPVersion int      // of the path: 4 or 6; 0: none
	Tries     int      // how many there were: packets that were sent, addresses, servers or dials, as the stage has it
	Lane      string   // by which of several ways, such as "predicted"
	Reason    string   // why it ended as it did, such as "peer_offline"
}

// Validate returns a *EventError for the first thing that is wrong with the event, nil
// if nothing is.
func (e *Event) Validate() error {
	switch {
	case e.ID.IsZero():
		return badEvent("event_id", "is missing; make one with NewID")
	case e.Session.IsZero():
		return badEvent("session_id", "is missing; make one with NewID for each session")
	case e.Time.IsZero():
		return badEvent("time", "is missing; give the time when the stage ended")
	case e.Time.Unix() < 0 || e.Time.Unix() > lastSecond:
		return badEvent("time", "year %d is out of range; give one from 1970 to 9999", e.Time.UTC().Year())
	case !known(stages, e.Stage):
		return badEvent("stage", "%q is none; want one of %q", e.Stage, stages[1:])
	case !known(statuses, e.Status):
		return badEvent("status", "%q is none; want one of %q", e.Status, statuses[1:])
	case e.Latency < 0 || e.Latency > MaxLatency:
		return badEvent("latency_ms", "%v is out of range; give 0 to %v", e.Latency, MaxLatency)
	case e.LocalNAT > natprobe.TypeUDPBlocked:
		return badEvent("local_nat", "%d is out of range; use a constant of natprobe", e.LocalNAT)
	case e.RemoteNAT > natprobe.TypeUDPBlocked:
		return badEvent("remote_nat", "%d is out of range; use a constant of natprobe", e.RemoteNAT)
	case e.Protocol != 0 && !known(protocols, e.Protocol):
		return badEvent("protocol", "%q is none; want one of %q", e.Protocol, protocols[1:])
	case e.IPVersion != 0 && e.IPVersion != 4 && e.IPVersion != 6:
		return badEvent("ip_version", "%d is none; give 4 or 6, or 0 where there is no path", e.IPVersion)
	case e.Tries < 0 || e.Tries > MaxTries:
		return badEvent("tries", "%d is out of range; give 0 to %d", e.Tries, MaxTries)
	case !isWord(e.Group):
		return badWord("ab_group", e.Group)
	case !isWord(e.Lane):
		return badWord("lane", e.Lane)
	case !isWord(e.Reason):
		return badWord("reason", e.Reason)
	}
	return e.validatePair()
}

func badWord(field, text string) error {
	return badEvent(field, "%q is no word for counting; give at most %d characters of a-z 0-9 _ -", cut(text), MaxWord)
}

// validatePair holds the kind of path against what the stage is for.
func (e *Event) validatePair() error {
	pathless := e.Stage == StageGather || e.Stage == StageSignal
	direct := e.Stage == StagePunch || e.Stage == StageUpgrade
	switch {
	case e.Pair != 0 && !known(pairKinds, e.Pair):
		return badEvent("pair", "%q is none; want one of %q", e.Pair, pairKinds[1:])
	case e.Pair == 0 && e.Status == StatusSuccess && !pathless:
		return badEvent("pair", "is missing, and %s succeeded; say what kind of path came of it", e.Stage)
	case e.Pair != 0 && pathless:
		return badEvent("pair", "%s makes no path; leave it out", e.Stage)
	case e.Pair == PairRelay && direct:
		return badEvent("pair", "%s is about direct paths; tell of a relay by the stage %s", e.Stage, StageRelay)
	case e.Pair != 0 && e.Pair != PairRelay && e.Stage == StageRelay:
		return badEvent("pair", "%s is about relayed paths; tell of a direct one by the stage %s", e.Stage, StagePunch)
	}
	return nil
}

func isWord(text string) bool {
	if len(text) > MaxWord {
		return false
	}
	for i := range len(text) {
		if !wordBytes[text[i]] {
			return false
		}
	}
	return true
}

// wordBytes are the characters of words.
var wordBytes = func() (of [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789_-") {
		of[c] = true
	}
	return of
}()

// eventJSON is an event as JSON has it: names and their order are fixed. A field that
// is absent is not known, or does not apply.
type eventJSON struct {
	ID        ID            `json:"event_id"`
	Session   ID            `json:"session_id"`
	Time      time.Time     `json:"time"`
	Group     string        `json:"ab_group,omitzero"`
	Stage     Stage         `json:"stage"`
	Status    Status        `json:"status"`
	Latency   millis        `json:"latency_ms"`
	LocalNAT  natprobe.Type `json:"local_nat,omitzero"`
	RemoteNAT natprobe.Type `json:"remote_nat,omitzero"`
	Pair      PairKind      `json:"pair,omitzero"`
	Protocol  Protocol      `json:"protocol,omitzero"`
	IPVersion int           `json:"ip_version,omitzero"`
	Tries     int           `json:"tries,omitzero"`
	Lane      string        `json:"lane,omitzero"`
	Reason    string        `json:"reason,omitzero"`
}

// MarshalJSON writes the event as one JSON object of at most MaxEvent bytes, always the
// same for the same event. The error is that of Validate.
func (e Event) MarshalJSON() ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return json.Marshal(eventJSON{
		e.ID, e.Session, e.Time.UTC().Truncate(time.Millisecond), e.Group, e.Stage, e.Status, millis(e.Latency), e.LocalNAT, e.RemoteNAT,
		e.Pair, e.Protocol, e.IPVersion, e.Tries, e.Lane, e.Reason,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote, here or at a stranger's, and validates
// it. Names that it does not know are passed over, for a newer version may have more.
// The error is a *EventError, and leaves e as it was.
func (e *Event) UnmarshalJSON(data []byte) error {
	if len(data) > MaxEvent {
		return badEvent("", "%d bytes are too many; send at most %d", len(data), MaxEvent)
	}
	var j eventJSON
	if err := json.Unmarshal(data, &j); err != nil {
		var wrong *EventError
		if errors.As(err, &wrong) {
			return wrong
		}
		return badEvent("", "%s", cut(strings.TrimPrefix(err.Error(), "stats: ")))
	}
	got := Event{
		ID: j.ID, Session: j.Session, Time: j.Time.UTC().Truncate(time.Millisecond), Group: j.Group,
		Stage: j.Stage, Status: j.Status, Latency: time.Duration(j.Latency), LocalNAT: j.LocalNAT, RemoteNAT: j.RemoteNAT,
		Pair: j.Pair, Protocol: j.Protocol, IPVersion: j.IPVersion, Tries: j.Tries, Lane: j.Lane, Reason: j.Reason,
	}
	if err := got.Validate(); err != nil {
		return err
	}
	*e = got
	return nil
}

// millis is a duration that JSON has as a number of milliseconds with at most three
// decimals.
type millis time.Duration

func (m millis) MarshalJSON() ([]byte, error) {
	us := time.Duration(m).Microseconds()
	return strconv.AppendFloat(nil, float64(us)/1000, 'f', -1, 64), nil
}

func (m *millis) UnmarshalJSON(data []byte) error {
	ms, err := strconv.ParseFloat(string(data), 64)
	if err != nil || math.Abs(ms) > 2*float64(MaxLatency/time.Millisecond) {
		return badEvent("latency_ms", "%s is no number of milliseconds that fits", cut(string(data)))
	}
	*m = millis(time.Duration(math.Round(ms*1000)) * time.Microsecond)
	return nil
}

// String tells the event in one line, for people.
func (e Event) String() string {
	text := fmt.Sprintf("%s %s after %v", e.Stage, e.Status, e.Latency)
	for _, part := range []string{e.Pair.String(), e.Protocol.String(), e.Lane, e.Reason} {
		if part != "" {
			text += " " + part
		}
	}
	return text
}
