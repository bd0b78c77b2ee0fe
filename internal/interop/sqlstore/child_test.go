// Package sqlstore_test runs stats/sqlstore on SQLite and on a PostgreSQL server of its own,
// as programs use it, and kills what can be killed.
package sqlstore_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats"
	"github.com/bradawl/bradawl/stats/sqlstore"
)

var rounds = flag.Int("rounds", 12, "how often a writer, or its server, is killed")

// childEnv makes the test binary a writer: the driver, the database, and the number of its
// first event.
const childEnv = "BRADAWL_STORE_WRITER"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		if err := writeUntilKilled(strings.SplitN(args, "|", 3)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

func dialect(driver string) sqlstore.Dialect {
	if driver == "pgx" {
		return sqlstore.PostgreSQL
	}
	return sqlstore.SQLite
}

// epoch is when the first event was.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// event returns event n, always the same.
func event(n int) stats.Event {
	e := stats.Event{
		Time: epoch.Add(time.Duration(n) * time.Millisecond), Stage: stats.StageConnect, Status: stats.StatusSuccess,
		Latency:  time.Duration(n%5000) * time.Millisecond,
		LocalNAT: natprobe.TypeFullCone, RemoteNAT: natprobe.Type(n % 5), Pair: stats.PairSrflx, Protocol: stats.ProtocolUDP, IPVersion: 4, Tries: n % 9,
	}
	if n%4 == 0 {
		e.Status, e.Pair, e.Protocol, e.IPVersion, e.Reason, e.Group, e.Lane = stats.StatusTimeOut, 0, 0, 0, "no_answer", "b", "predicted"
	}
	binary.BigEndian.PutUint64(e.ID[:], uint64(n)*0x9e3779b97f4a7c15|1) // in no order, as they are
	binary.BigEndian.PutUint64(e.ID[8:], uint64(n)+1)
	binary.BigEndian.PutUint64(e.Session[8:], uint64(n)+1)
	return e
}

// number returns which event it is; false if it is not as it was recorded, to the last bit.
func number(e stats.Event) (n int, whole bool) {
	n = int(binary.BigEndian.Uint64(e.ID[8:])) - 1
	return n, n >= 0 && e == event(n)
}

// perFlush is how many events a writer records before each Flush: more than a batch, so that
// it is killed between batches, too.
const perFlush = 70

func network(flush int) (string, netip.Addr) {
	return "home", netip.AddrFrom4([4]byte{198, 18, 0, byte(flush % 250)})
}

// writeUntilKilled records events and outcomes, and after each Flush says up to which.
func writeUntilKilled(args []string) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	db, err := sql.Open(args[0], args[1])
	if err != nil {
		return err
	}
	recorder, err := stats.NewRecorder(stats.Config{Now: func() time.Time { return epoch.Add(time.Minute) }, Lateness: time.Hour})
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(context.Background(), db, sqlstore.Config{
		Dialect: dialect(args[0]), BatchSize: 20, Recorder: recorder, Now: func() time.Time { return epoch.Add(time.Minute) },
	})
	if err != nil {
		return err
	}
	for {
		for range perFlush {
			store.Record(event(n))
			n++
		}
		where, remote := network(n / perFlush)
		store.History().Record(where, remote, true, epoch.Add(time.Minute))
		if err := store.Flush(context.Background()); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// runChild lets a writer write from event n on until it has said so often that it has
// flushed, kills it some time later, and returns up to which event it said each time.
func runChild(t *testing.T, driver, source string, n, flushes int, later time.Duration) (told []int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", childEnv, driver, source, n))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		upTo, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the writer said %q", lines.Text())
		}
		told = append(told, upTo)
		if flushes--; flushes == 0 {
			time.AfterFunc(later, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	if flushes > 0 {
		t.Fatalf("the writer ended by itself: %s", said.String())
	}
	return told
}
