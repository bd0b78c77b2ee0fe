package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bradawl/bradawl/stats/sqlstore"
)

// server is a PostgreSQL server with a cluster of its own, on a socket in a folder of the
// test.
type server struct {
	bin, dir string
	as       *syscall.Credential // whom it runs as; nil: us
	source   string
	log      *os.File
	cmd      *exec.Cmd
	ended    chan struct{}
}

// postgresBin returns where the server's programs are: Debian keeps them out of the PATH.
func postgresBin(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(all) == 0 {
		const how = "PostgreSQL is not installed: apt-get install postgresql"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	slices.Sort(all)
	return filepath.Dir(all[len(all)-1])
}

// newServer makes a cluster and starts its server, which ends with the test.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{bin: postgresBin(t)}
	var err error
	// Not t.TempDir, whose name may be too long for that of a socket.
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if os.Getuid() == 0 { // as which it refuses to run
		who, err := user.Lookup("postgres")
		if err != nil {
			who, err = user.Lookup("nobody")
		}
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	s.source = "host=" + s.dir + " user=postgres dbname=postgres connect_timeout=5"
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(s.log.Name()); err == nil && t.Failed() {
			t.Logf("PostgreSQL said:\n%s", text[max(0, len(text)-4000):])
		}
		s.log.Close()
	})
	out, err := s.command("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.start(t)
	t.Cleanup(func() { s.kill() })
	return s
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Pdeathsig: syscall.SIGKILL} // it does not outlive the test
	return cmd
}

// start starts the server and waits until it takes connections. After a kill it may not
// start at once, for the kernel has not buried all of the former one.
func (s *server) start(t *testing.T) {
	t.Helper()
	db := openDB(t, "pgx", s.source)
	defer db.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		s.launch(t)
		for {
			err := db.Ping()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			select {
			case <-s.ended:
			case <-time.After(20 * time.Millisecond):
				continue
			}
			break
		}
	}
}

func (s *server) launch(t *testing.T) {
	t.Helper()
	// What was written is with the kernel then, which nobody kills here; so no fsync.
	s.cmd = s.command("postgres", "-D", "data", "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() { cmd.Wait(); close(ended) }()
}

// kill kills the server and all of its processes, in the middle of what they do.
func (s *server) kill() {
	select {
	case <-s.ended:
		return
	default:
	}
	pid := s.cmd.Process.Pid
	s.cmd.Process.Signal(syscall.SIGSTOP) // so that it makes no more of them
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			syscall.Kill(n, syscall.SIGKILL)
		}
	}
	s.cmd.Process.Kill()
	<-s.ended
}

// stop ends the server in order; connections are cut.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGINT)
	<-s.ended
}

func TestPostgreSQL(t *testing.T) {
	s := newServer(t)
	t.Run("use", func(t *testing.T) { use(t, "pgx", s.database(t, "one")) })
	t.Run("several at once", func(t *testing.T) { several(t, "pgx", s.database(t, "two")) })
	t.Run("refusing", func(t *testing.T) {
		refusing(t, "pgx", s.database(t, "four"), `ALTER TABLE bradawl_events ADD CHECK (lane <> 'poison')`)
	})
	t.Run("writers are killed", func(t *testing.T) { killWriters(t, "pgx", s.database(t, "three")) })
}

// database makes a database and returns how to open it.
func (s *server) database(t *testing.T, name string) string {
	t.Helper()
	if _, err := openDB(t, "pgx", s.source).Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(s.source, "dbname=postgres", "dbname="+name, 1)
}

// The server is killed with all of its processes again and again while a store writes, which
// goes on each time: in the end every event is there once, and none in part.
func TestPostgreSQLKill(t *testing.T) {
	s := newServer(t)
	rng := rand.New(rand.NewPCG(12, 1))
	db := openDB(t, "pgx", s.source)
	store := openStore(t, db, sqlstore.Config{Dialect: sqlstore.PostgreSQL, BatchSize: 20, Queue: 1_000_000})
	n, told := 0, 0
	for range *rounds {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { // records, and flushes as far as that goes
			defer close(stopped)
			for ctx.Err() == nil {
				for range perFlush {
					store.Record(event(n))
					n++
				}
				if store.Flush(ctx) == nil {
					told = n
				}
			}
		}()
		<-time.After(time.Duration(5+rng.IntN(100)) * time.Millisecond)
		s.kill()
		s.start(t)
		cancel()
		<-stopped
		// What was told to be there is, at once.
		var have int
		if err := db.QueryRow(`SELECT COUNT(*) FROM bradawl_events`).Scan(&have); err != nil {
			t.Fatal(err)
		}
		if have < told {
			t.Errorf("%d events are there, %d were told of", have, told)
		}
	}
	flush(t, store)
	c := store.Counts()
	found := checkEvents(t, store)
	if len(found) != n || c.Accepted != uint64(n) || c.Written+c.Duplicates != uint64(n) || c.Dropped != 0 || c.Failures == 0 {
		t.Errorf("%d events of %d, %+v", len(found), n, c)
	}
	t.Logf("%d events, %d failures, %d were in the database already", n, c.Failures, c.Duplicates)
}

// A server that is stopped for a while keeps nobody waiting, and gets what there was room
// for when it is back.
func TestPostgreSQLLost(t *testing.T) {
	s := newServer(t)
	told := make(chan error, 100)
	db := openDB(t, "pgx", s.source)
	store := openStore(t, db, sqlstore.Config{Dialect: sqlstore.PostgreSQL, Queue: 1000, OnError: func(err error) { told <- err }})
	n := 0
	record := func(more int) {
		for range more {
			store.Record(event(n))
			n++
		}
	}
	record(500)
	flush(t, store)
	s.stop()
	record(3000) // which does not wait
	store.History().Remember("networks", "plain", true, time.Now())
	<-told
	c := store.Counts()
	if c.Waiting != 1000 || c.Dropped != 2000 || c.Written != 500 || c.Err == nil {
		t.Errorf("%+v", c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := store.Flush(ctx); err == nil {
		t.Error("Flush told that all is written")
	}
	s.start(t)
	flush(t, store)
	c = store.Counts()
	if found := checkEvents(t, store); len(found) != 1500 || c.Written != 1500 || c.History != 1 || c.Err != nil {
		t.Errorf("%d events, %+v", len(found), c)
	}
	var one sql.NullInt64
	if err := db.QueryRow(`SELECT COUNT(*) FROM bradawl_history`).Scan(&one); err != nil || one.Int64 != 1 {
		t.Error(fmt.Sprint(one.Int64), err)
	}
}
