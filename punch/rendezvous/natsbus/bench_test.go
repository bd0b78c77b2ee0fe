package natsbus

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/punch/rendezvous"
)

// BenchmarkPair tells how long it takes from a client's join until it and the one
// who waits in the room are both paired: at one server that is alone, at one node,
// and at two, with a NATS server in the same process. The three take turns, so
// that their ratio means something on a busy machine.
func BenchmarkPair(b *testing.B) {
	s := runNATS(b, natsOptions(b))
	one, two := runNode(b, dialNATS(b, s.ClientURL()), Config{}), runNode(b, dialNATS(b, s.ClientURL()), Config{})
	alone, err := rendezvous.NewServer(rendezvous.ServerConfig{MessageRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer alone.Close()
	web := httptest.NewServer(alone)
	defer web.Close()
	single := &testNode{t: b, url: "ws" + strings.TrimPrefix(web.URL, "http")}

	cases := []struct {
		name         string
		waits, joins *client
		took         []time.Duration
	}{
		{name: "alone", waits: single.dial(identity(b, 1)), joins: single.dial(identity(b, 2))},
		{name: "one", waits: one.dial(identity(b, 1)), joins: one.dial(identity(b, 2))},
		{name: "two", waits: one.dial(identity(b, 3)), joins: two.dial(identity(b, 4))},
	}
	ctx := within(b)
	for i := range b.N {
		room := fmt.Sprintf("room%d", i)
		for k := range cases {
			c := &cases[k]
			c.waits.join(room+c.name, "w")
			began := time.Now()
			c.joins.join(room+c.name, "j")
			c.joins.paired(c.waits, "w")
			c.waits.paired(c.joins, "j")
			c.took = append(c.took, time.Since(began))
			if err := c.joins.Leave(ctx, room+c.name); err != nil {
				b.Fatal(err)
			}
			if e, ok := c.waits.recv().(rendezvous.PeerLeft); !ok {
				b.Fatalf("got %+v", e)
			}
			if err := c.waits.Leave(ctx, room+c.name); err != nil {
				b.Fatal(err)
			}
		}
	}
	p50 := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2]) / float64(time.Millisecond)
	}
	for _, c := range cases {
		b.ReportMetric(p50(c.took), "p50-"+c.name+"-ms")
	}
	b.ReportMetric(p50(cases[2].took)/p50(cases[1].took), "two/one")
	b.ReportMetric(p50(cases[2].took)/p50(cases[0].took), "two/alone")
	b.ReportMetric(0, "ns/op")
}
