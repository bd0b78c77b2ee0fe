package stats

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/natprobe"
)

// testID returns an ID of one byte repeated.
func testID(b byte) ID { return ID(bytes.Repeat([]byte{b}, 16)) }

func punched() Event {
	return Event{
		ID: testID(0xe1), Session: testID(0x5e), Time: time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", 3600)), Group: "control-2",
		Stage: StagePunch, Status: StatusSuccess, Latency: 123_456_789 * time.Nanosecond,
		LocalNAT: natprobe.TypePortRestrictedCone, RemoteNAT: natprobe.TypeSymmetric,
		Pair: PairPredicted, Protocol: ProtocolUDP, IPVersion: 4, Tries: 37, Lane: "predicted", Reason: "from_history",
	}
}

func failed() Event {
	return Event{ID: testID(1), Session: testID(2), Time: time.Unix(0, 0), Stage: StageSignal, Status: StatusTimeOut, Latency: 10 * time.Second}
}

// What is sent to collectors, byte for byte: a change here breaks them.
func TestGolden(t *testing.T) {
	for _, test := range []struct {
		event Event
		want  string
	}{
		{punched(), `{"event_id":"e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1","session_id":"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e",` +
			`"time":"2026-01-02T02:04:05.678Z","ab_group":"control-2","stage":"punch","status":"success","latency_ms":123.456,` +
			`"local_nat":"port_restricted_cone","remote_nat":"symmetric","pair":"predicted","protocol":"udp","ip_version":4,"tries":37,` +
			`"lane":"predicted","reason":"from_history"}`},
		{failed(), `{"event_id":"01010101010101010101010101010101","session_id":"02020202020202020202020202020202",` +
			`"time":"1970-01-01T00:00:00Z","stage":"signal","status":"time_out","latency_ms":10000}`},
	} {
		got, err := json.Marshal(test.event)
		if err != nil || string(got) != test.want {
			t.Errorf("%s, %v; want\n%s", got, err, test.want)
		}
		var back Event
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		want := test.event
		want.Time, want.Latency = want.Time.UTC().Truncate(time.Millisecond), want.Latency.Truncate(time.Microsecond)
		if back != want {
			t.Errorf("read back as %+v, want %+v", back, want)
		}
	}
}

// The words of all enumerations, and that none is missing.
func TestWords(t *testing.T) {
	check := func(want, got string) {
		t.Helper()
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	check("gather signal punch relay upgrade connect", allWords(t, StageConnect))
	check("success fail time_out cancelled", allWords(t, StatusCancelled))
	check("host srflx prflx mapped predicted birthday relay", allWords(t, PairRelay))
	check("udp tcp tls dtls", allWords(t, ProtocolDTLS))
}

// allWords returns the words of a type's constants up to the last one, each of which
// must be read back, and checks that no other value has a word.
func allWords[T interface {
	~uint8
	String() string
	MarshalText() ([]byte, error)
}](t *testing.T, last T) string {
	t.Helper()
	var all []string
	for v := T(1); v <= last; v++ {
		text, err := v.MarshalText()
		if err != nil || string(text) != v.String() {
			t.Errorf("%d: %q, %v, want %q", v, text, err, v)
		}
		var back T
		if err := any(&back).(interface{ UnmarshalText([]byte) error }).UnmarshalText(text); err != nil || back != v {
			t.Errorf("%q read back as %d, %v", text, back, err)
		}
		all = append(all, string(text))
	}
	if zero := T(0); zero.String() != "" {
		t.Errorf("the zero value is %q", zero)
	}
	for _, v := range []T{last + 1, 255} {
		if text, err := v.MarshalText(); err == nil {
			t.Errorf("%d marshals as %q", v, text)
		}
		if !strings.HasPrefix(v.String(), "unknown") {
			t.Errorf("%d is %q", v, v)
		}
	}
	return strings.Join(all, " ")
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		field string // "": valid
		spoil func(e *Event)
	}{
		{"", func(e *Event) {}},
		{"event_id", func(e *Event) { e.ID = ID{} }},
		{"session_id", func(e *Event) { e.Session = ID{} }},
		{"time", func(e *Event) { e.Time = time.Time{} }},
		{"time", func(e *Event) { e.Time = time.Unix(-1, 0) }},
		{"time", func(e *Event) { e.Time = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200)) }},
		{"ab_group", func(e *Event) { e.Group = "B!" }},
		{"ab_group", func(e *Event) { e.Group = strings.Repeat("b", MaxWord+1) }},
		{"", func(e *Event) { e.Group = strings.Repeat("b", MaxWord) }},
		{"stage", func(e *Event) { e.Stage = 0 }},
		{"stage", func(e *Event) { e.Stage = StageConnect + 1 }},
		{"status", func(e *Event) { e.Status = 0 }},
		{"status", func(e *Event) { e.Status = 255 }},
		{"latency_ms", func(e *Event) { e.Latency = -1 }},
		{"latency_ms", func(e *Event) { e.Latency = MaxLatency + 1 }},
		{"", func(e *Event) { e.Latency = MaxLatency }},
		{"local_nat", func(e *Event) { e.LocalNAT = natprobe.TypeUDPBlocked + 1 }},
		{"remote_nat", func(e *Event) { e.RemoteNAT = 255 }},
		{"pair", func(e *Event) { e.Pair = PairRelay + 1 }},
		{"pair", func(e *Event) { e.Pair = 0 }},
		{"", func(e *Event) { e.Pair, e.Status = 0, StatusFail }},
		{"pair", func(e *Event) { e.Pair = PairRelay }},
		{"pair", func(e *Event) { e.Stage = StageRelay }},
		{"", func(e *Event) { e.Stage, e.Pair = StageRelay, PairRelay }},
		{"pair", func(e *Event) { e.Stage, e.Pair = StageUpgrade, PairRelay }},
		{"", func(e *Event) { e.Stage, e.Pair = StageConnect, PairRelay }},
		{"pair", func(e *Event) { e.Stage, e.Pair = StageConnect, 0 }},
		{"pair", func(e *Event) { e.Stage = StageGather }},
		{"pair", func(e *Event) { e.Stage = StageSignal }},
		{"", func(e *Event) { e.Stage, e.Pair = StageGather, 0 }},
		{"protocol", func(e *Event) { e.Protocol = ProtocolDTLS + 1 }},
		{"ip_version", func(e *Event) { e.IPVersion = 5 }},
		{"tries", func(e *Event) { e.Tries = -1 }},
		{"tries", func(e *Event) { e.Tries = MaxTries + 1 }},
		{"lane", func(e *Event) { e.Lane = "two words" }},
		{"reason", func(e *Event) { e.Reason = "192.0.2.1" }},
		{"reason", func(e *Event) { e.Reason = "\xff" }},
	} {
		e := punched()
		test.spoil(&e)
		err := e.Validate()
		_, errJSON := json.Marshal(e)
		var wrong, wrongJSON *EventError
		if test.field == "" {
			if err != nil || errJSON != nil {
				t.Errorf("%+v: %v, %v", e, err, errJSON)
			}
			continue
		}
		if !errors.As(err, &wrong) || wrong.Field != test.field || !errors.As(errJSON, &wrongJSON) || wrongJSON.Field != test.field {
			t.Errorf("%+v: %v, %v; want one of %s", e, err, errJSON, test.field)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	good, err := json.Marshal(punched())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		old, new string
		want     string // what the error says; "": none
	}{
		{"", "", ""},
		{`"tries":37`, `"tries":37,"later_versions":{"may":["have","more"]}`, ""},
		{`123.456`, `1.234560000e2`, ""},
		{`.678Z`, `.678901+00:00`, ""},
		{`"stage":"punch"`, `"stage":"Punch"`, "stage"},
		{`"stage":"punch"`, `"stage":""`, "stage"},
		{`"stage":"punch",`, ``, "stage"},
		{`"stage":"punch"`, `"stage":3`, "stage"},
		{`"status":"success"`, `"status":"successful"`, "status"},
		{`"pair":"predicted"`, `"pair":"guessed"`, "pair"},
		{`"protocol":"udp"`, `"protocol":"sctp"`, "protocol"},
		{`"local_nat":"port_restricted_cone"`, `"local_nat":"cone"`, "is no Type"},
		{`e1e1`, `E1E1`, "hexadecimal"},
		{`e1e1`, `e1`, "hexadecimal"},
		{`"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"`, `"00000000000000000000000000000000"`, "hexadecimal"},
		{`"5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"`, `null`, "session_id"},
		{`123.456`, `-1`, "latency_ms"},
		{`123.456`, `1e300`, "latency_ms"},
		{`123.456`, `1e400`, "latency_ms"},
		{`123.456`, `"123.456"`, "latency_ms"},
		{`123.456`, `null`, "latency_ms"},
		{`2026-01-02T`, `0001-01-01T`, "time"},
		{`2026-01-02T`, `soon`, "time"},
		{`"tries":37`, `"tries":3.7`, "tries"},
		{`"tries":37`, `"tries":37e9`, "tries"},
		{`"lane":"predicted"`, `"lane":"` + strings.Repeat("x", 1000) + `"`, "lane"},
		{`"lane":"predicted"`, `"x":"` + strings.Repeat("x", MaxEvent) + `"`, "too many"},
		{string(good), `null`, "event_id"},
		{string(good), `[]`, "array"},
		{string(good), `7`, "number"},
	} {
		data := strings.Replace(string(good), test.old, test.new, 1)
		before := failed()
		got := before
		err := json.Unmarshal([]byte(data), &got)
		if test.want == "" {
			want := punched()
			want.Time, want.Latency = want.Time.UTC().Truncate(time.Millisecond), want.Latency.Truncate(time.Microsecond)
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v", data, got, err)
			}
			continue
		}
		var wrong *EventError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 300 || strings.Contains(err.Error(), "stats: event: stats") {
			t.Errorf("%s: %v, want something of %s", data, err, test.want)
		}
		if got != before {
			t.Errorf("%s: the event has become %+v", data, got)
		}
	}
}

// The longest event there can be leaves later versions some room.
func TestSize(t *testing.T) {
	word := strings.Repeat("w", MaxWord)
	e := Event{
		ID: testID(255), Session: testID(255), Time: time.Date(2026, 12, 31, 23, 59, 59, 999_000_000, time.UTC), Group: word,
		Stage: StageConnect, Status: StatusCancelled, Latency: MaxLatency - time.Microsecond,
		LocalNAT: natprobe.TypePortRestrictedCone, RemoteNAT: natprobe.TypePortRestrictedCone,
		Pair: PairPredicted, Protocol: ProtocolDTLS, IPVersion: 6, Tries: MaxTries, Lane: word, Reason: word,
	}
	got, err := json.Marshal(e)
	if err != nil || len(got) > MaxEvent/2 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Every latency of whole microseconds is read back as it was.
func TestLatencies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		e := failed()
		e.Latency = time.Duration(r.Int64N(int64(MaxLatency)) >> r.IntN(50))
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(b, &back); err != nil || back.Latency != e.Latency.Truncate(time.Microsecond) {
			t.Fatalf("%v read back as %v, %v, from %s", e.Latency, back.Latency, err, b)
		}
	}
}

func TestString(t *testing.T) {
	if got, want := punched().String(), "punch success after 123.456789ms predicted udp predicted from_history"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := failed().String(), "signal time_out after 10s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Whatever is read is valid, and is read back as the same from what is written of it.
func FuzzEvent(f *testing.F) {
	for _, e := range []Event{punched(), failed()} {
		b, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"latency_ms":1e-9,"TIME":"2026-01-02T03:04:05.9999999+14:00","tries":1e3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			if e != (Event{}) {
				t.Errorf("%v, and the event is %+v", err, e)
			}
			return
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%+v is not valid: %v", e, err)
		}
		b, err := json.Marshal(e)
		if err != nil || len(b) > MaxEvent {
			t.Fatalf("%+v: %d bytes, %v", e, len(b), err)
		}
		var back Event
		if err := json.Unmarshal(b, &back); err != nil || back != e {
			t.Errorf("%s: read back as %+v, %v; want %+v", b, back, err, e)
		}
	})
}
