package prom_test

import (
	"expvar"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/prom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A program shows what became of its sessions, to Prometheus and by expvar. The recorder's
// Record is the sessions' bradawl.Config.Record.
func Example() {
	recorder, err := stats.NewRecorder(stats.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	if _, err := prom.New(registry, prom.Config{Recorder: recorder}); err != nil {
		fmt.Println(err)
		return
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	expvar.Publish("bradawl", expvar.Func(func() any { return recorder.Snapshot().Table() })) // at /debug/vars

	id, _ := stats.NewID(nil)
	recorder.Record(stats.Event{
		ID: id, Session: id, Time: time.Now(), Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 120 * time.Millisecond,
		Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: 3,
	})
	for path, want := range map[string]string{
		"/metrics":    `bradawl_sessions_total{ab_group="",local_nat="unknown",result="direct"} 1`,
		"/debug/vars": `"p2p_successes": 1`,
	} {
		got := httptest.NewRecorder()
		http.DefaultServeMux.ServeHTTP(got, httptest.NewRequest("GET", path, nil))
		body := strings.ReplaceAll(got.Body.String(), `":1`, `": 1`)
		if !strings.Contains(body, want) {
			fmt.Println(path, "has not", want)
		}
	}
	fmt.Println("shown")
	// Output: shown
}
