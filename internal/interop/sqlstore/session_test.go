package sqlstore_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl"
	"github.com/bradawl/bradawl/punch/rendezvous"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/sqlstore"
)

// Two sessions keep what became of their connection, each in a file of its own, and the next
// ones of the same identities begin with what is known.
func TestSession(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	meet, err := rendezvous.NewServer(rendezvous.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer meet.Close()
	web := httptest.NewServer(meet)
	defer web.Close()

	files := [2]string{sqliteFile(t), sqliteFile(t)}
	var ids [2]*bradawl.Identity
	for i := range ids {
		if ids[i], err = bradawl.NewIdentity(); err != nil {
			t.Fatal(err)
		}
	}
	since := time.Now().Add(-time.Minute)
	for round := range 2 {
		var stores [2]*sqlstore.Store
		var sessions [2]*bradawl.Session
		for i := range sessions {
			recorder := newRecorder(t, nil)
			stores[i] = openStore(t, openDB(t, "sqlite", files[i]), sqlstore.Config{Recorder: recorder, HistorySecret: ids[i].Bytes()})
			if known := len(stores[i].History().Entries()) > 0; known != (round == 1) {
				t.Errorf("round %d: session %d knows something of before: %v", round, i, known)
			}
			sessions[i], err = bradawl.New(ctx, bradawl.Config{
				Identity: ids[i], Signaler: &rendezvous.Signaler{URL: "ws" + strings.TrimPrefix(web.URL, "http") + "/"}, Loopback: true,
				Record: stores[i].Record, History: stores[i].History(), Memory: stores[i].History(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer sessions[i].Close()
		}
		for e := range sessions[1].Events(ctx) {
			if e.Kind == bradawl.EventSignalUp {
				break
			}
		}
		conn, err := sessions[0].Dial(ctx, ids[1].ID())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		for i := range sessions {
			sessions[i].Close()
			if err := stores[i].Close(); err != nil {
				t.Error(err)
			}
		}
		for i, store := range stores {
			connected, all := 0, 0
			for e, err := range store.Events(ctx, since, time.Now().Add(time.Minute)) {
				if err != nil {
					t.Fatal(err)
				}
				all++
				if e.Stage == stats.StageConnect && e.Status == stats.StatusSuccess {
					connected++
				}
			}
			panes, err := store.Between(ctx, since, time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if got := panes.By()[0].Events(); connected != round+1 || int(got) != all {
				t.Errorf("round %d: session %d connected %d times; %d events, %d in panes", round, i, connected, all, got)
			}
		}
	}
}
