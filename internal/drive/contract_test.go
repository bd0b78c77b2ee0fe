package drive_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/internal/drive"
	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// contract is one promise of package machine: what two machines ask for, and what
// each of them is told. Both runners have to keep it.
type contract struct {
	name    string
	a, b    script
	link    simnet.Link // of a; without MTU and Rate that of b, too
	tellA   string      // what a is told, one line each; times and random ports are left out
	tellB   string
	ignoreB bool // what b is told depends on timing
}

// script is what a machine does.
type script struct {
	sockets []string // local addresses
	listen  []string
	steps   []step
	// react is what the machine does about something that it is told.
	react map[string][]machine.Transmit
	// says are the events by which it tells of a datagram.
	says []string
	// owner is what whoever gets an event has the machine do about it.
	owner map[string][]machine.Transmit
	stop  time.Duration // when its runner is closed; 0: in the end
}

type step struct {
	at time.Duration
	do []machine.Transmit
}

const (
	contractTime = 10 * time.Second
	contractLink = 10 * time.Millisecond
)

var (
	contractAddrs = map[string][]netip.Addr{
		"a": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.11")},
		"b": {netip.MustParseAddr("192.0.2.2")},
	}
)

func (c contract) world() (w *simnet.World, hosts [2]*simnet.Host) {
	w = simnet.New(1)
	for i, name := range []string{"a", "b"} {
		link := simnet.Link{Delay: contractLink, MTU: 9000}
		if i == 0 {
			link.Rate, link.Queue = c.link.Rate, c.link.Queue
		}
		hosts[i] = w.AddHost(name, w.Internet(), link, contractAddrs[name]...)
	}
	return w, hosts
}

func TestContract(t *testing.T) {
	for _, c := range contracts {
		for _, r := range []struct {
			name string
			run  func(*testing.T, contract) [2]*actor
		}{{"simnet", runContractInSimnet}, {"drive", runContractInDrive}} {
			t.Run(c.name+"/"+r.name, func(t *testing.T) {
				var told [2]*actor
				synctest.Test(t, func(t *testing.T) { told = r.run(t, c) })
				compare(t, "a", told[0].log, c.tellA)
				if !c.ignoreB {
					compare(t, "b", told[1].log, c.tellB)
				}
			})
		}
	}
}

func compare(t *testing.T, who string, got []string, want string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if !slices.Equal(got, lines) {
		t.Errorf("%s was told\n\t%s\nwant\n\t%s", who, strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

func addrPorts(all []string) (parsed []netip.AddrPort) {
	for _, s := range all {
		parsed = append(parsed, netip.MustParseAddrPort(s))
	}
	return parsed
}

func runContractInSimnet(t *testing.T, c contract) (actors [2]*actor) {
	w, hosts := c.world()
	for i, s := range []script{c.a, c.b} {
		a := &actor{t: t, script: s}
		actors[i] = a
		o := simnet.RunOptions{Sockets: addrPorts(s.sockets), Listen: addrPorts(s.listen)}
		r, err := simnet.Run(hosts[i], a, o, func(_ time.Time, e string) { a.own(e) })
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range s.steps {
			w.After(st.at, func() { r.Do(func(time.Time) { a.do(st.do) }) })
		}
		if s.stop != 0 {
			w.After(s.stop, r.Close)
		}
	}
	w.Run(contractTime)
	return actors
}

func runContractInDrive(t *testing.T, c contract) (actors [2]*actor) {
	w, hosts := c.world()
	defer w.Go()()
	start := time.Now()
	type timed struct {
		at time.Duration
		do func()
	}
	var all []timed
	var loops []*drive.Loop
	for i, s := range []script{c.a, c.b} {
		h := hosts[i]
		o := drive.Options{ListenPacket: h.ListenPacket, Dial: h.DialFrom}
		for _, local := range s.sockets {
			pc, err := h.ListenPacket(t.Context(), "udp4", local)
			if err != nil {
				t.Fatal(err)
			}
			o.Sockets = append(o.Sockets, pc)
		}
		for _, local := range s.listen {
			l, err := h.Listen(t.Context(), "tcp4", local, true)
			if err != nil {
				t.Fatal(err)
			}
			o.Listeners = append(o.Listeners, l)
		}
		a := &actor{t: t, script: s}
		actors[i] = a
		l, err := drive.Run[string](a, a.own, o)
		if err != nil {
			t.Fatal(err)
		}
		loops = append(loops, l)
		for _, st := range s.steps {
			all = append(all, timed{st.at, func() { l.Do(func(time.Time) { a.do(st.do) }) }})
		}
		if s.stop != 0 {
			all = append(all, timed{s.stop, func() { l.Close() }})
		}
	}
	slices.SortStableFunc(all, func(x, y timed) int { return int(x.at - y.at) })
	for _, x := range all {
		pass(time.Until(start.Add(x.at)))
		x.do()
		synctest.Wait()
	}
	pass(time.Until(start.Add(contractTime)))
	for _, l := range loops {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	return actors
}

// pass lets the time of a bubble pass.
func pass(d time.Duration) { <-time.After(d) }

// actor is a machine that follows a script and writes down what it is told.
type actor struct {
	t *testing.T
	script
	log      []string
	out      machine.Queue[machine.Transmit]
	events   machine.Queue[string]
	draining bool
}

func (a *actor) do(ts []machine.Transmit) {
	if a.draining {
		a.t.Error("the machine is entered while it is drained")
	}
	for _, x := range ts {
		a.out.Push(x)
	}
}

// own gets the machine's events.
func (a *actor) own(e string) {
	a.log = append(a.log, "event "+e)
	a.do(a.owner[e])
}

// told writes down a line, of which data is the end.
func (a *actor) told(line, data string) {
	if last := len(a.log) - 1; last >= 0 && strings.HasPrefix(line, "received") {
		if head, before, ok := strings.Cut(a.log[last], ": "); ok && head == line { // cut anywhere
			data = before + data
			a.log = a.log[:last]
		}
	}
	if data != "" {
		line += ": " + data
	}
	a.log = append(a.log, line)
	a.do(a.react[line])
}

func (a *actor) HandleDatagram(_ time.Time, d machine.Datagram) {
	data := string(d.Data)
	if len(data) > 100 {
		data = fmt.Sprint(len(data), " bytes")
	}
	a.told(fmt.Sprintf("datagram %d at %v from %v", d.Socket, name(d.Local), name(d.Remote)), data)
	for _, e := range a.says {
		a.events.Push(e)
	}
}

func (a *actor) HandleNotice(_ time.Time, n machine.Notice) {
	line := n.Kind.String()
	switch n.Kind {
	case machine.SocketOpened, machine.SocketFailed:
		line += fmt.Sprintf(" %d on %v", n.Socket, name(n.Local))
	case machine.Unreachable:
		line += fmt.Sprintf(" %d on %v, remote %v: %v", n.Socket, name(n.Local), name(n.Remote), n.Reason)
	default:
		id := fmt.Sprint(n.Stream)
		if n.Stream >= machine.AcceptedBase {
			id = fmt.Sprintf("#%d", n.Stream-machine.AcceptedBase)
		}
		line += " " + id
		if n.Kind == machine.Accepted || n.Kind == machine.Connected {
			line += fmt.Sprintf(" %v to", name(n.Local))
		}
		line += fmt.Sprintf(" %v", name(n.Remote))
	}
	data := string(n.Data)
	if n.Err != nil && n.Kind != machine.Unreachable {
		data = what(n.Err)
	}
	a.told(line, data)
}

func (a *actor) HandleTimeout(time.Time)    {}
func (a *actor) NextTimeout() (t time.Time) { return t }
func (a *actor) PollTransmit() (machine.Transmit, bool) {
	x, ok := a.out.Pop()
	a.draining = a.draining || ok
	return x, ok
}
func (a *actor) PollEvent() (string, bool) {
	e, ok := a.events.Pop()
	a.draining = ok
	return e, ok
}

// name writes an address with the port left out that a system has chosen.
func name(a netip.AddrPort) string {
	if a.Port() >= 32768 {
		return a.Addr().String() + ":*"
	}
	return a.String()
}

// what is the sort of an error.
func what(err error) string {
	var overflow *machine.OverflowError
	for what, is := range map[string]bool{
		"refused":      errors.Is(err, syscall.ECONNREFUSED),
		"reset":        errors.Is(err, syscall.ECONNRESET),
		"overflow":     errors.As(err, &overflow),
		"port in use":  errors.Is(err, syscall.EADDRINUSE),
		"no such addr": errors.Is(err, syscall.EADDRNOTAVAIL),
	} {
		if is {
			return what
		}
	}
	if strings.Contains(err.Error(), "number") {
		return "number in use"
	}
	return err.Error()
}

var (
	_ machine.Machine[string] = (*actor)(nil)
	_ machine.Noticer         = (*actor)(nil)
)
