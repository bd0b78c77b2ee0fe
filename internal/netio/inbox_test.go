package netio

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var sender1 = netip.MustParseAddrPort("192.0.2.1:1000")

// readOne reads what waits, or fails.
func readOne(t *testing.T, q *Inbox) string {
	t.Helper()
	b := make([]byte, 100)
	n, size, from, err := q.Read(b)
	if err != nil || n != size || from != sender1 {
		t.Fatalf("%d of %d bytes from %v, %v", n, size, from, err)
	}
	return string(b[:n])
}

// An inbox against a list: whatever comes and goes, what is read is what was taken in, in
// order, and what is over the limit is counted.
func TestInboxIsAQueue(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		limit := 1 + random.IntN(20)
		q := NewInbox(limit)
		var want []string
		var lost uint64
		for i := range 500 {
			if random.IntN(5) < 2+i/100%2 { // fills up and runs empty by turns
				text := fmt.Sprint(i)
				ok := q.Deliver(sender1, []byte(text))
				if ok != (len(want) < limit) {
					t.Fatalf("seed %d: taken in: %v, %d of %d wait", seed, ok, len(want), limit)
				}
				if ok {
					want = append(want, text)
				} else {
					lost++
				}
			} else if len(want) > 0 {
				if got := readOne(t, q); got != want[0] {
					t.Fatalf("seed %d: %q, want %q", seed, got, want[0])
				}
				want = want[1:]
			}
		}
		if q.Overrun() != lost {
			t.Errorf("seed %d: %d lost, counted %d", seed, lost, q.Overrun())
		}
	}
}

func TestInboxCopies(t *testing.T) {
	q := NewInbox(2)
	data := []byte("hello")
	q.Deliver(sender1, data)
	copy(data, "xxxxx")
	b := make([]byte, 4)
	if n, size, _, err := q.Read(b); string(b[:n]) != "hell" || size != 5 || err != nil {
		t.Errorf("%q of %d bytes, %v", b[:n], size, err)
	}
}

// reading reads once, and tells what came of it and when.
type reading struct {
	n    int
	err  error
	took time.Duration
}

func read(q *Inbox) <-chan reading {
	done := make(chan reading, 1)
	go func() {
		began := time.Now()
		n, _, _, err := q.Read(make([]byte, 100))
		done <- reading{n, err, time.Since(began)}
	}()
	return done
}

func TestInboxDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewInbox(4)
		expect := func(what string, got reading, took time.Duration, err error) {
			t.Helper()
			if got.took != took || !errors.Is(got.err, err) {
				t.Errorf("%s: %v after %v, want %v after %v", what, got.err, got.took, err, took)
			}
		}
		q.SetReadDeadline(time.Now().Add(time.Second))
		expect("one that passes", <-read(q), time.Second, os.ErrDeadlineExceeded)
		q.Deliver(sender1, []byte("x"))
		expect("one that has passed, though something waits", <-read(q), 0, os.ErrDeadlineExceeded)
		q.SetReadDeadline(time.Time{})
		expect("none", <-read(q), 0, nil)

		q.SetReadDeadline(time.Now().Add(time.Second))
		waiting := read(q)
		time.Sleep(999 * time.Millisecond)
		q.SetReadDeadline(time.Now().Add(time.Second))
		expect("moved while it is waited for", <-waiting, 1999*time.Millisecond, os.ErrDeadlineExceeded)

		q.SetReadDeadline(time.Now().Add(time.Hour))
		waiting = read(q)
		time.Sleep(time.Second)
		q.SetReadDeadline(time.Now().Add(-time.Second))
		expect("set to the past while it is waited for", <-waiting, time.Second, os.ErrDeadlineExceeded)

		q.SetReadDeadline(time.Now().Add(time.Second))
		q.SetReadDeadline(time.Time{})
		waiting = read(q)
		time.Sleep(time.Minute)
		q.Deliver(sender1, []byte("x"))
		expect("taken away", <-waiting, time.Minute, nil)

		q.SetReadDeadline(time.Now().Add(time.Second))
		q.expire() // a timer that was stopped too late
		expect("with a timer of before", <-read(q), time.Second, os.ErrDeadlineExceeded)

		q.SetReadDeadline(time.Now().Add(time.Second).Round(0)) // without a monotonic clock
		expect("of the wall clock", <-read(q), time.Second, os.ErrDeadlineExceeded)
	})
}

// Each of several readers gets a datagram, and all end with the inbox.
func TestInboxWithManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewInbox(4)
		var readers []<-chan reading
		for range 8 {
			readers = append(readers, read(q))
		}
		synctest.Wait()
		for range 3 {
			q.Deliver(sender1, []byte("x"))
		}
		synctest.Wait()
		q.Close()
		got, ended := 0, 0
		for _, r := range readers {
			switch r := <-r; {
			case r.err == nil:
				got++
			case errors.Is(r.err, net.ErrClosed):
				ended++
			}
		}
		if got != 3 || ended != 5 {
			t.Errorf("%d have read and %d were told of Close, want 3 and 5", got, ended)
		}
	})
}

func TestInboxAfterClose(t *testing.T) {
	q := NewInbox(4)
	q.SetReadDeadline(time.Now().Add(time.Hour))
	q.Deliver(sender1, []byte("x"))
	q.Close()
	q.Close()
	if q.Deliver(sender1, []byte("y")) || !q.Closed() || q.Overrun() != 0 {
		t.Errorf("took something in; closed %v, %d over", q.Closed(), q.Overrun())
	}
	q.SetReadDeadline(time.Now().Add(-time.Second))
	if _, _, _, err := q.Read(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// Nothing is lost or doubled between goroutines.
func TestInboxBetweenGoroutines(t *testing.T) {
	const senders, each = 4, 2000
	q := NewInbox(senders * each)
	var sending, reading sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				q.Deliver(sender1, fmt.Appendf(nil, "%d %d", s, i))
			}
		})
	}
	for range 3 {
		reading.Go(func() {
			b := make([]byte, 100)
			for {
				n, _, _, err := q.Read(b)
				if err != nil {
					return
				}
				mu.Lock()
				seen[string(b[:n])]++
				done := len(seen) == senders*each
				mu.Unlock()
				if done {
					q.Close()
				}
			}
		})
	}
	sending.Wait()
	reading.Wait()
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", text, n)
		}
	}
}

// BenchmarkInbox is a datagram through the inbox, without waiting.
func BenchmarkInbox(b *testing.B) {
	q := NewInbox(256)
	data, buf := make([]byte, 1200), make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		q.Deliver(sender1, data)
		_, _, _, _ = q.Read(buf)
	}
}
