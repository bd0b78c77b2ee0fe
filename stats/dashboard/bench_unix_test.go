//go:build unix

package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// BenchmarkFleet is an Interval of 10,000 detectors and 200 viewers on loopback, one of whom
// reads nothing. An operation is one report with an event from each detector, the picture,
// and its way to each viewer. Beside the time it tells the processor time, in which all
// clients are, and the heap that is in use after it.
//
//	go test -run '^$' -bench Fleet -benchtime 20x ./stats/dashboard
func BenchmarkFleet(b *testing.B) {
	const detectors, viewers = 10_000, 200
	d, err := New(Config{Tokens: []string{testToken}, Interval: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(d)
	defer server.Close()
	defer d.Close(context.Background())
	seen := make(chan uint64, viewers)
	for i := range viewers {
		ws := benchView(b, server.Listener.Addr())
		if i > 0 {
			go benchRead(ws, seen)
		}
	}
	heard := func(want uint64) (slowest time.Duration) {
		began := time.Now()
		for range viewers - 1 {
			if got := <-seen; got != want {
				b.Fatalf("a viewer got %d instead of %d", got, want)
			}
		}
		return time.Since(began)
	}
	heard(1)
	reports := make([][]byte, detectors)
	var slowest time.Duration
	var worked time.Duration
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		for i := range reports {
			reports[i] = benchReport(b, uint64(i), uint64(round*detectors+i))
		}
		before := busy(b)
		b.StartTimer()
		benchPost(d, reports)
		now := time.Now()
		d.hub.publish(frame{time: now, pic: d.paint(now)})
		slowest = max(slowest, heard(d.hub.now.seq))
		worked += busy(b) - before
	}
	b.StopTimer()
	if l := d.Ledger(); l.Accepted != uint64(b.N*detectors) {
		b.Fatalf("%+v", l)
	}
	b.ReportMetric(worked.Seconds()*1000/float64(b.N), "cpu-ms/op")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-viewer-ms")
	b.ReportMetric(float64(len(d.hub.snapshot()))/1000, "snapshot-kB")
}

// benchPost sends reports by the handler alone.
func benchPost(d *Dashboard, reports [][]byte) {
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < len(reports); i += 8 {
				r := httptest.NewRequest(http.MethodPost, "http://localhost/report", bytes.NewReader(reports[i]))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+testToken)
				d.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	wg.Wait()
}

func benchView(b *testing.B, addr net.Addr) *websocket.Conn {
	ws, _, err := websocket.Dial(b.Context(), "http://"+addr.String()+"/ws", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(-1)
	return ws
}

// benchRead tells the number of each message.
func benchRead(ws *websocket.Conn, seen chan<- uint64) {
	for {
		_, data, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		head, _, _ := strings.Cut(string(data[:min(len(data), 60)]), `,"time"`)
		var seq uint64
		_, number, _ := strings.Cut(head, `"seq":`)
		fmt.Sscan(number, &seq)
		seen <- seq
	}
}

// benchReport is of a detector in one of 800 places.
func benchReport(b *testing.B, detector, n uint64) []byte {
	e := connected(b, n, time.Now(), []stats.PairKind{stats.PairHost, stats.PairSrflx, stats.PairRelay}[n%3])
	e.LocalNAT, e.RemoteNAT = natprobe.Type(detector%8), natprobe.Type(n/7%8)
	text, err := json.Marshal(Report{
		Detector: newID(b, detector), Time: time.Now(), NAT: e.LocalNAT, Place: mustPlace(LatLon(float64(detector%20)*3-20, float64(detector/20%40)*5-100)),
		Events: []stats.Event{e},
	})
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// busy is how long processors have worked for this program.
func busy(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
