package rendezvous

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/ident"
	"github.com/bradawl/bradawl/internal/machine"
)

// offerSize is what a peer with a dozen candidates has to say.
const offerSize = 600

// The clients of BenchmarkRendezvous are a process of their own, this test
// binary once more: so the memory measured is the server's alone, and each
// process needs one file descriptor a client.
const (
	envURL     = "BRADAWL_BENCH_URL"
	envClients = "BRADAWL_BENCH_CLIENTS"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(envURL); url != "" {
		n, err := strconv.Atoi(os.Getenv(envClients))
		if err == nil {
			err = crowd(url, n, os.Stdin, os.Stdout)
		}
		if err != nil {
			fmt.Println("failed:", err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The default lets all benchmarks be run in passing.
var benchClients = flag.Int("clients", 2000, "`number` of clients in the benchmarks, even")

// BenchmarkRendezvous signs clients on to one server process over TCP, has them
// meet two by two, and reports
//
//   - B/client, goroutines/client: heap and stacks of the server process, for a
//     client that has signed on, is paired and left a message of 600 bytes;
//   - p50-ms, p99-ms: from the second member's join to the moment when both have
//     been handed the other's message, with 16 rooms at it at any time;
//   - client-B/client: what Client costs on its own side.
//
// The figures of 10,000 clients in 5,000 rooms:
//
//	go test -run '^$' -bench . -benchtime 1x ./punch/rendezvous -clients 10000
func BenchmarkRendezvous(b *testing.B) {
	n := *benchClients
	if err := descriptors(n + 100); err != nil {
		b.Skipf("%d clients need %d file descriptors: %v; raise the limit (ulimit -n)", n, n+100, err)
	}
	for b.Loop() {
		server, err := NewServer(ServerConfig{MaxClientsPerAddress: -1, MaxRoomsPerAddress: -1})
		if err != nil {
			b.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		web := &http.Server{Handler: server, ReadHeaderTimeout: time.Minute}
		served := make(chan error, 1)
		go func() { served <- web.Serve(listener) }()
		before := footprint()
		clients := startCrowd(b, "ws://"+listener.Addr().String(), n)

		began := time.Now()
		var side int64
		clients.expect("ready %d", &side)
		signOns := float64(n) / time.Since(began).Seconds()
		idle := footprint()
		clients.tell("go")
		var p50, p99 time.Duration
		clients.expect("paired %d %d", &p50, &p99)
		paired := footprint()
		if got, want := server.Stats(), (Stats{Clients: n, Rooms: n / 2}); got != want {
			b.Fatalf("the server has %+v, want %+v", got, want)
		}
		clients.tell("end")
		clients.wait()
		server.Close()
		web.Close()
		<-served

		each := func(v int64) float64 { return float64(v) / float64(n) }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(n), "clients")
		b.ReportMetric(signOns, "sign-ons/s")
		b.ReportMetric(each(idle.bytes-before.bytes), "idle-B/client")
		b.ReportMetric(each(paired.bytes-before.bytes), "B/client")
		b.ReportMetric(each(paired.goroutines-before.goroutines), "goroutines/client")
		b.ReportMetric(each(side), "client-B/client")
		b.ReportMetric(float64(p50)/1e6, "p50-ms")
		b.ReportMetric(float64(p99)/1e6, "p99-ms")
	}
}

// BenchmarkServerMachine is the part of that memory which the protocol itself
// needs: the machine without goroutines, connections and WebSockets.
func BenchmarkServerMachine(b *testing.B) {
	n := *benchClients
	peers := make([]ident.PeerID, n)
	for i := range peers {
		id, err := ident.NewIdentity(nil)
		if err != nil {
			b.Fatal(err)
		}
		peers[i] = id.ID()
	}
	offer := make([]byte, offerSize)
	now := time.Now()
	for b.Loop() {
		m, err := NewServerMachine(ServerConfig{AllowUnproven: true, MaxClientsPerAddress: -1, MaxRoomsPerAddress: -1})
		if err != nil {
			b.Fatal(err)
		}
		paired := 0
		say := func(s machine.StreamID, f frame) {
			m.HandleNotice(now, machine.Notice{Kind: machine.Received, Stream: s, Data: f.encode()})
			machine.Drain(m, func(machine.Transmit) {}, func(e ServerEvent) {
				if e.Kind == ServerPaired {
					paired++
				}
			})
		}
		before := footprint()
		for i, peer := range peers {
			s := machine.AcceptedBase + machine.StreamID(i)
			addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 1)
			m.HandleNotice(now, machine.Notice{Kind: machine.Accepted, Stream: s, Remote: addr})
			say(s, frame{Type: typeHello, Version: protocolVersion, Peer: peer})
			say(s, frame{Type: typeJoin, Room: fmt.Sprintf("room-%d", i/2), Data: offer})
		}
		after := footprint()
		if paired != n || m.Stats().Clients != n || m.Stats().Rooms != n/2 {
			b.Fatalf("%d paired, %d clients, %d rooms", paired, m.Stats().Clients, m.Stats().Rooms)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(after.bytes-before.bytes)/float64(n), "B/client")
		runtime.KeepAlive(m)
	}
}

// usage is what a process holds in memory.
type usage struct {
	bytes      int64
	goroutines int64
}

func footprint() usage {
	for range 3 { // pools are emptied by the second, finalizers' prey by the third
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return usage{int64(s.HeapAlloc + s.StackInuse), int64(runtime.NumGoroutine())}
}

// descriptors tells whether this process can open n files.
func descriptors(n int) error {
	files := make([]*os.File, 0, n)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for range n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	return nil
}

// process is the clients' process as the benchmark sees it.
type process struct {
	b     *testing.B
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startCrowd(b *testing.B, url string, n int) *process {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := &process{b: b, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), envURL+"="+url, envClients+"="+strconv.Itoa(n))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *process) tell(line string) { fmt.Fprintln(p.in, line) }

// expect reads one line of the form given.
func (p *process) expect(format string, into ...any) {
	p.b.Helper()
	if !p.lines.Scan() {
		p.b.Fatalf("the clients' process ended: %v, %v", p.lines.Err(), p.cmd.Wait())
	}
	if _, err := fmt.Sscanf(p.lines.Text(), format, into...); err != nil {
		p.b.Fatalf("the clients' process says %q", p.lines.Text())
	}
}

func (p *process) wait() {
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		p.b.Error(err)
	}
}

// crowd is the clients' process: n clients sign on and, when told, meet two by
// two.
func crowd(url string, n int, stdin io.Reader, stdout io.Writer) error {
	const workers = 16
	ctx := context.Background()
	orders := bufio.NewScanner(stdin)
	before := footprint()
	clients := make([]*Client, n)
	err := parallel(workers, n, func(i int) (err error) {
		clients[i], err = Dial(ctx, url, ClientConfig{DialTimeout: time.Minute})
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ready", footprint().bytes-before.bytes)
	orders.Scan()

	took := make([]time.Duration, n/2)
	err = parallel(workers, n/2, func(i int) error {
		room, offer := fmt.Sprintf("room-%d", i), make([]byte, offerSize)
		first, second := clients[2*i], clients[2*i+1]
		if err := first.Join(ctx, room, offer); err != nil {
			return err
		}
		began := time.Now()
		if err := second.Join(ctx, room, offer); err != nil {
			return err
		}
		for _, c := range []*Client{first, second} {
			if e, err := c.Next(ctx); err != nil {
				return err
			} else if _, ok := e.(Paired); !ok {
				return fmt.Errorf("room %d: %+v", i, e)
			}
		}
		took[i] = time.Since(began)
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(took)
	fmt.Fprintln(stdout, "paired", int64(took[len(took)/2]), int64(took[len(took)*99/100]))
	orders.Scan()
	return nil
}

// parallel calls do for 0 to n-1, so many at a time, until one fails.
func parallel(workers, n int, do func(i int) error) error {
	var (
		next   atomic.Int64
		group  sync.WaitGroup
		failed = make([]error, workers)
	)
	for w := range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed[w] == nil; i = int(next.Add(1)) - 1 {
				failed[w] = do(i)
			}
		})
	}
	group.Wait()
	return errors.Join(failed...)
}
