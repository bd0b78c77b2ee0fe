package netio

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
)

func canSpread() bool {
	switch runtime.GOOS {
	case "windows", "plan9", "js", "wasip1", "solaris", "illumos", "aix":
		return false
	}
	return true
}

func TestListenParallel(t *testing.T) {
	if !canSpread() {
		_, err := ListenParallel(t.Context(), "udp4", "127.0.0.1:0", 2)
		var pe *ParallelError
		if !errors.As(err, &pe) || pe.Sockets != 2 || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("got %v, want a *ParallelError", err)
		}
		return
	}
	const n = 4
	all, err := ListenParallel(t.Context(), "udp4", "127.0.0.1:0", n)
	if err != nil {
		t.Fatal(err)
	}
	port := AddrPortOf(all[0].LocalAddr())
	got := make(chan int)
	for i, pc := range all {
		if AddrPortOf(pc.LocalAddr()) != port || port.Port() == 0 {
			t.Errorf("socket %d on %v, the first on %v", i, pc.LocalAddr(), port)
		}
		go func() {
			for {
				if _, _, err := pc.ReadFrom(make([]byte, 10)); err != nil {
					got <- -1
					return
				}
				got <- i
			}
		}()
	}
	// Each datagram arrives at exactly one socket, and those of one sender at the same.
	busy := make(map[int]bool)
	for range 64 {
		c := open(t, "udp4", "127.0.0.1:0")
		send(t, c, port, SendOptions{})
		first := <-got
		send(t, c, port, SendOptions{})
		if second := <-got; second != first {
			t.Errorf("one sender's datagrams went to sockets %d and %d", first, second)
		}
		busy[first] = true
	}
	// 64 senders that miss a socket of 4: once in 10^7 runs.
	if runtime.GOOS == "linux" && len(busy) != n {
		t.Errorf("64 senders reached %d sockets of %d", len(busy), n)
	}
	for _, pc := range all {
		pc.Close()
	}
	for range all {
		if <-got != -1 {
			t.Error("a datagram came twice")
		}
	}
}

// The ports chosen for two groups differ, and no group leaves anything behind when
// its port is taken.
func TestListenParallelKeepsToItself(t *testing.T) {
	if !canSpread() {
		t.Skip("no shared ports on", runtime.GOOS)
	}
	ports := make(map[netip.AddrPort]bool)
	for range 20 {
		all, err := ListenParallel(t.Context(), "udp4", "127.0.0.1:0", 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, pc := range all {
			defer pc.Close()
		}
		ports[AddrPortOf(all[0].LocalAddr())] = true
	}
	if len(ports) != 20 {
		t.Errorf("20 groups have %d ports", len(ports))
	}
	taken := open(t, "udp4", "127.0.0.1:0")
	_, err := ListenParallel(t.Context(), "udp4", taken.LocalAddrPort().String(), 2)
	if !errors.Is(err, errAddrInUse) || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("port in use: %v", err)
	}
	for address, n := range map[string]int{"127.0.0.1:0": 0, "127.0.0.1": 2, "127.0.0.1:none": 2} {
		if all, err := ListenParallel(t.Context(), "udp4", address, n); err == nil {
			t.Errorf("%d sockets on %q: %v", n, address, all)
		}
	}
}

// One socket is an ordinary one, whose port nobody can share.
func TestListenParallelOfOne(t *testing.T) {
	all, err := ListenParallel(t.Context(), "udp4", "127.0.0.1:0", 1)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	defer all[0].Close()
	lc := net.ListenConfig{Control: ReusePort}
	if runtime.GOOS == "windows" {
		lc.Control = nil
	}
	if pc, err := lc.ListenPacket(t.Context(), "udp4", all[0].LocalAddr().String()); err == nil {
		pc.Close()
		t.Error("the port is shared")
	}
}
