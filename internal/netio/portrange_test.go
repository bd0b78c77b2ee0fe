package netio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestParsePortRange(t *testing.T) {
	for s, want := range map[string]PortRange{
		"":            {},
		"40000-40099": {40000, 40099},
		"7-7":         {7, 7},
		"1-65535":     {1, 65535},
	} {
		got, err := ParsePortRange(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("ParsePortRange(%q) = %v, %v", s, got, err)
		}
	}
	for s, names := range map[string]string{
		"40000":     "LOW-HIGH",
		"5-4":       "5-4",
		"0-9":       `"0"`,
		"1-65536":   `"65536"`,
		"-9":        `""`,
		"1-2-3":     `"2-3"`,
		"one-two":   `"one"`,
		" 10 - 20 ": `" 10 "`,
	} {
		if _, err := ParsePortRange(s); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("ParsePortRange(%q): %v, want an error about %s", s, err, names)
		}
	}
}

func TestPortRangeTriesEachPortOnce(t *testing.T) {
	const seed = 5
	r := PortRange{65500, 65535}
	orders := make(map[string]bool)
	for i := range uint64(3) {
		var tried []uint16
		err := r.Try(rand.New(rand.NewPCG(seed, i)), func(port uint16) error {
			tried = append(tried, port)
			return &net.OpError{Op: "listen", Err: errAddrInUse}
		})
		var used *PortsInUseError
		if !errors.As(err, &used) || used.Range != r || !strings.Contains(err.Error(), "65500-65535") || !errors.Is(err, errAddrInUse) {
			t.Errorf("seed %d,%d: %v, want a *PortsInUseError about %v", seed, i, err, r)
		}
		orders[fmt.Sprint(tried)] = true
		slices.Sort(tried)
		if len(tried) != 36 || tried[0] != 65500 || tried[35] != 65535 || len(slices.Compact(tried)) != 36 {
			t.Errorf("seed %d,%d: tried %v", seed, i, tried)
		}
	}
	if len(orders) != 3 {
		t.Errorf("seed %d: 3 tries in %d orders", seed, len(orders))
	}
}

func TestPortRangeEndsAtTheFirstThatWorks(t *testing.T) {
	free, calls := uint16(0), 0
	if err := (PortRange{100, 199}).Try(nil, func(port uint16) error {
		if calls++; calls < 4 {
			return errAddrInUse
		}
		free = port
		return nil
	}); err != nil || calls != 4 || free < 100 || free > 199 {
		t.Errorf("%d calls, port %d, %v", calls, free, err)
	}
	if err := (PortRange{}).Try(nil, func(port uint16) error { free = port; return nil }); err != nil || free != 0 {
		t.Errorf("no range: port %d, %v", free, err)
	}
	if err := (PortRange{5, 4}).Try(nil, func(uint16) error { return nil }); err == nil {
		t.Error("an empty range worked")
	}
}

func TestPortRangeReportsOtherErrorsAtOnce(t *testing.T) {
	for _, c := range []struct {
		err   error
		names string
	}{
		{syscall.EACCES, "from 1024 up"},
		{context.Canceled, "context canceled"},
	} {
		calls := 0
		err := (PortRange{80, 90}).Try(nil, func(uint16) error { calls++; return &net.OpError{Op: "listen", Err: c.err} })
		var pe *PortError
		if calls != 1 || !errors.As(err, &pe) || pe.Port < 80 || pe.Port > 90 || !errors.Is(err, c.err) ||
			!strings.Contains(err.Error(), fmt.Sprintf("port %d", pe.Port)) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%v: %v after %d calls", c.err, err, calls)
		}
	}
	if err := (PortRange{}).Try(nil, func(uint16) error { return fs.ErrPermission }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("no range: %v", err)
	}
}

// A range whose ports are all taken but one gives that one.
func TestPortRangeOnRealPorts(t *testing.T) {
	taken := open(t, "udp4", "127.0.0.1:0").LocalAddrPort().Port()
	bind := func(port uint16) error {
		pc, err := ListenUDP(t.Context(), "udp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			pc.Close()
		}
		return err
	}
	var used *PortsInUseError
	if err := (PortRange{taken, taken}).Try(nil, bind); !errors.As(err, &used) {
		t.Errorf("port %d is taken: %v", taken, err)
	}
}
