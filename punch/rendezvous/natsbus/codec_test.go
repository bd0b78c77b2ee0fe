package natsbus

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

func sampleBatches(t testing.TB) []batch {
	from := rendezvous.BusMember{Peer: peerID(t, 1), Session: 1<<64 - 1, Proven: true}
	long := strings.Repeat("r", rendezvous.MaxRoom)
	return []batch{
		{nodeID{1}, rendezvous.Topic{Room: "a.b-c_D"}, []entry{
			{1, rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "a.b-c_D", From: from}},
			{300, rendezvous.BusMessage{Kind: rendezvous.BusUpdate, Room: "a.b-c_D", From: from, Data: []byte{}}},
			{1<<64 - 1, rendezvous.BusMessage{Kind: rendezvous.BusLeave, Room: "a.b-c_D", From: from}},
		}},
		{nodeID{}, rendezvous.Topic{Peer: peerID(t, 2)}, []entry{
			{1<<64 - 1, rendezvous.BusMessage{
				Kind: rendezvous.BusPaired, To: 1<<64 - 1, Room: long, From: from, Data: make([]byte, rendezvous.MaxMessage),
				Code: 65535, Reason: strings.Repeat("x", maxReason),
			}},
		}},
		{nodeID{15: 9}, rendezvous.Topic{Peer: peerID(t, 2)}, []entry{{5, rendezvous.BusMessage{Kind: rendezvous.BusSignOn, From: from}}}},
	}
}

func TestCodec(t *testing.T) {
	for i, want := range sampleBatches(t) {
		data := appendBatch(nil, want)
		got, err := decodeBatch(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("batch %d: %v, %v", i, got, err)
		}
		if most := maxHeader + len(want.entries)*maxMessage; len(data) > most {
			t.Errorf("batch %d has %d bytes, more than the %d that it is thought to have at most", i, len(data), most)
		}
		for n := range min(len(data), 400) {
			if _, err := decodeBatch(data[:n]); err == nil {
				// A batch may end after any of its messages.
				if whole, _ := decodeBatch(data[:n]); len(whole.entries) >= len(want.entries) {
					t.Errorf("batch %d: its first %d bytes are taken for a whole", i, n)
				}
			}
		}
		if _, err := decodeBatch(append(data, 0)); err == nil {
			t.Errorf("batch %d: another byte is not noticed", i)
		}
	}
	for _, want := range []record{{form: formHome, home: nodeID{1}, attempt: 7}, {form: formFree}, {form: formAlive}, {form: formDead}} {
		data := appendRecord(nil, want)
		if got, err := decodeRecord(data); err != nil || got != want {
			t.Errorf("record %+v: %+v, %v", want, got, err)
		}
		if _, err := decodeRecord(append(data, 0)); err == nil {
			t.Errorf("record %+v: another byte is not noticed", want)
		}
	}
	for _, want := range []answer{answerTaken, answerRefused, answerBusy} {
		if got, err := decodeAnswer(appendAnswer(nil, want)); err != nil || got != want {
			t.Errorf("answer %d: %d, %v", want, got, err)
		}
	}
}

// A reason that is too long is cut, and is a reason still.
func TestLongReason(t *testing.T) {
	b := batch{nodeID{1}, rendezvous.Topic{Peer: peerID(t, 2)}, []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusError, Reason: strings.Repeat("ä", 200)}}}}
	got, err := decodeBatch(appendBatch(nil, b))
	if err != nil || got.entries[0].message.Reason != strings.Repeat("ä", 127) {
		t.Errorf("%q, %v", got.entries[0].message.Reason, err)
	}
}

// What a machine must not be given is refused.
func TestDecodeIsStrict(t *testing.T) {
	from := rendezvous.BusMember{Peer: peerID(t, 1)}
	room, peer := rendezvous.Topic{Room: "r"}, rendezvous.Topic{Peer: peerID(t, 2)}
	good := rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "r", From: from}
	noReason := appendBatch(nil, batch{topic: peer, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusError}}}})
	for name, data := range map[string][]byte{
		"nothing":                  nil,
		"another version":          append([]byte{2}, appendBatch(nil, batch{topic: room, entries: []entry{{1, good}}})[1:]...),
		"another form":             appendAnswer(nil, answerTaken),
		"no message":               appendBatch(nil, batch{topic: room}),
		"no topic":                 appendBatch(nil, batch{entries: []entry{{1, good}}}),
		"a room of no name":        appendBatch(nil, batch{topic: rendezvous.Topic{Room: "a b"}, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "a b", From: from}}}}),
		"number 0":                 appendBatch(nil, batch{topic: room, entries: []entry{{0, good}}}),
		"numbers out of order":     appendBatch(nil, batch{topic: room, entries: []entry{{2, good}, {1, good}}}),
		"another room":             appendBatch(nil, batch{topic: room, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "s", From: from}}}}),
		"nobody joins":             appendBatch(nil, batch{topic: room, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusJoin, Room: "r"}}}}),
		"for a room to a peer":     appendBatch(nil, batch{topic: peer, entries: []entry{{1, good}}}),
		"for a peer to a room":     appendBatch(nil, batch{topic: room, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusSend, Room: "r", From: from}}}}),
		"what a bus alone says":    appendBatch(nil, batch{topic: peer, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusDown}}}}),
		"more data than there is":  appendBatch(nil, batch{topic: peer, entries: []entry{{1, rendezvous.BusMessage{Kind: rendezvous.BusSend, Data: make([]byte, rendezvous.MaxMessage+1)}}}}),
		"a reason that is no text": append(noReason[:len(noReason)-1], 1, 0xff),
	} {
		if b, err := decodeBatch(data); err == nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range sampleBatches(f) {
		if data := appendBatch(nil, b); len(data) < 2000 {
			f.Add(data)
		}
	}
	f.Add(appendRecord(nil, record{form: formHome, home: nodeID{1}, attempt: 7}))
	f.Add(appendRecord(nil, record{form: formFree}))
	f.Add(appendAnswer(nil, answerBusy))
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := decodeBatch(data); err == nil {
			if again := appendBatch(nil, b); !bytes.Equal(again, data) {
				t.Errorf("batch %x becomes %x", data, again)
			}
			for _, e := range b.entries {
				if len(e.message.Data) > rendezvous.MaxMessage || len(e.message.Reason) > maxReason {
					t.Errorf("%s", fmt.Sprint(e))
				}
			}
		}
		if v, err := decodeRecord(data); err == nil {
			if again := appendRecord(nil, v); !bytes.Equal(again, data) {
				t.Errorf("record %x becomes %x", data, again)
			}
		}
		if a, err := decodeAnswer(data); err == nil {
			if again := appendAnswer(nil, a); !bytes.Equal(again, data) {
				t.Errorf("answer %x becomes %x", data, again)
			}
		}
	})
}
