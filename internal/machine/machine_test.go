package machine

import (
	"testing"
	"time"
)

func TestQueueKeepsOrderAndForgets(t *testing.T) {
	var q Queue[*int]
	for round := range 3 {
		for i := range 10 {
			q.Push(&i)
		}
		for i := range 10 {
			if v, ok := q.Pop(); !ok || *v != i {
				t.Fatalf("round %d: popped %v, %v, want %d", round, v, ok, i)
			}
		}
		if _, ok := q.Pop(); ok || q.Len() != 0 {
			t.Fatal("an empty queue gave something")
		}
	}
	for i := range 5 {
		q.Push(&i)
	}
	q.Pop()
	if q.items[0] != nil {
		t.Error("what was popped is still held")
	}
	if q.Len() != 4 {
		t.Errorf("length %d, want 4", q.Len())
	}
}

func TestQueueInSteadyStateDoesNotAllocate(t *testing.T) {
	var q Queue[int]
	if n := testing.AllocsPerRun(1000, func() {
		for i := range 8 {
			q.Push(i)
		}
		for range 8 {
			q.Pop()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEarliestPassesOverZero(t *testing.T) {
	now := time.Unix(1, 0)
	if got := Earliest(time.Time{}, now.Add(2), now, time.Time{}, now.Add(1)); !got.Equal(now) {
		t.Errorf("%v", got)
	}
	if !Earliest().IsZero() || !Earliest(time.Time{}).IsZero() {
		t.Error("nothing gave a time")
	}
}

// echo is a machine that says something once more while it is being drained.
type echo struct {
	out    Queue[Transmit]
	events Queue[int]
	more   bool
}

func (e *echo) HandleDatagram(time.Time, Datagram) {}
func (e *echo) HandleTimeout(time.Time)            {}
func (e *echo) NextTimeout() time.Time             { return time.Time{} }
func (e *echo) PollTransmit() (Transmit, bool)     { return e.out.Pop() }
func (e *echo) PollEvent() (int, bool) {
	v, ok := e.events.Pop()
	if ok && e.more {
		e.more = false
		e.out.Push(Transmit{Op: Write})
	}
	return v, ok
}

func TestDrainLeavesNothing(t *testing.T) {
	e := &echo{more: true}
	e.out.Push(Transmit{})
	e.events.Push(1)
	var said []Op
	var events []int
	Drain(e, func(t Transmit) { said = append(said, t.Op) }, func(v int) { events = append(events, v) })
	if len(said) != 2 || said[0] != Send || said[1] != Write || len(events) != 1 {
		t.Errorf("said %v, events %v", said, events)
	}
}

// An event may enter the machine; what that brings about comes after what waits.
func TestServeHandsEventsOnOneByOne(t *testing.T) {
	e := &echo{}
	for i := range 3 {
		e.events.Push(i)
	}
	var q Queue[int]
	var got []int
	var said int
	Serve(e, func(Transmit) { said++ }, q.Push, &q, func(v int) {
		got = append(got, v)
		if e.out.Len() != 0 || e.events.Len() != 0 {
			t.Error("the machine is not drained")
		}
		if v == 0 {
			e.out.Push(Transmit{})
			e.events.Push(3)
		}
	})
	if len(got) != 4 || got[3] != 3 || said != 1 || q.Len() != 0 {
		t.Errorf("events %v, %d effects, %d left", got, said, q.Len())
	}
}

func TestHardReasons(t *testing.T) {
	for r := range Reason(20) {
		if want := r == PortUnreachable || r == ProtocolUnreachable; r.Hard() != want {
			t.Errorf("%v: hard is %v", r, r.Hard())
		}
	}
}

func TestNames(t *testing.T) {
	if Send.String() != "send" || Reset.String() != "reset" || Op(99).String() != "unknown" {
		t.Error("names of effects")
	}
	if OtherReason.String() != "destination unreachable" || TimeExceeded.String() != "hop limit exceeded" || Reason(99).String() != "unknown" {
		t.Error("names of reasons")
	}
	if SocketOpened.String() != "socket-opened" || Closed.String() != "closed" || NoticeKind(99).String() != "unknown" {
		t.Error("names of notices")
	}
}
