//go:build unix

package dashboard

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// BenchmarkReporters is 10,000 detectors that each keep a WebSocket and send a report with an
// event by it. They are in this process, on pipes: times and memory are those of both ends,
// but for the system's sockets.
//
//	go test -run '^$' -bench Reporters -benchtime 20x ./stats/dashboard
func BenchmarkReporters(b *testing.B) {
	const detectors = 10_000
	d, err := New(Config{Tokens: []string{testToken}, Interval: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close(context.Background())
	n := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: d}
	go func() { _ = server.Serve(n) }()
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: n.dial}}
	memory := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapInuse+m.StackInuse) / 1000
	}
	before := memory()
	all := make([]*websocket.Conn, detectors)
	for i := range all {
		all[i], _, err = websocket.Dial(b.Context(), base+"report/ws", &websocket.DialOptions{
			HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + testToken}},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer all[i].CloseNow()
	}
	each := (memory() - before) / detectors
	var worked time.Duration
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		reports := make([][]byte, detectors)
		for i := range reports {
			reports[i] = benchReport(b, uint64(i), uint64(round*detectors+i))
		}
		before := busy(b)
		b.StartTimer()
		var wg sync.WaitGroup
		for part := range 8 {
			wg.Go(func() {
				for i := part; i < detectors; i += 8 {
					if err := all[i].Write(b.Context(), websocket.MessageText, reports[i]); err != nil {
						b.Error(err)
					}
					if _, _, err := all[i].Read(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		worked += busy(b) - before
	}
	b.StopTimer()
	if l := d.Ledger(); l.Accepted != uint64(b.N*detectors) {
		b.Fatalf("%+v", l)
	}
	b.ReportMetric(each, "kB/detector")
	b.ReportMetric(worked.Seconds()*1000/float64(b.N), "cpu-ms/op")
}
