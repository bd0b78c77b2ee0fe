package stats_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
)

// A client tells that its session is connected, and a collector reads that.
func Example() {
	random := strings.NewReader("a program gives nil here, for crypto/rand")
	session, _ := stats.NewID(random)
	id, _ := stats.NewID(random)
	sent, err := json.Marshal(stats.Event{
		ID: id, Session: session, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Stage: stats.StageConnect, Status: stats.StatusSuccess, Latency: 183 * time.Millisecond,
		LocalNAT: natprobe.TypePortRestrictedCone, Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", sent)

	var got stats.Event
	err = json.Unmarshal(sent, &got)
	fmt.Println(got, err)
	err = json.Unmarshal([]byte(`{"stage":"guess"}`), &got)
	fmt.Println(err)
	// Output:
	// {"event_id":"6e696c20686572652c20666f72206372","session_id":"612070726f6772616d20676976657320","time":"2026-01-02T03:04:05Z","stage":"connect","status":"success","latency_ms":183,"local_nat":"port_restricted_cone","pair":"srflx","protocol":"udp","ip_version":4}
	// connect success after 183ms srflx udp <nil>
	// stats: event: stage: "guess" is not known; want one of ["gather" "signal" "punch" "relay" "upgrade" "connect"]
}
