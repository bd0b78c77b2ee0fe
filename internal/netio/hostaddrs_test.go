package netio

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func TestHostAddrs(t *testing.T) {
	list := func() ([]HostAddr, error) {
		var all []HostAddr
		for _, a := range []string{
			"127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0", "fec0::1",
			"::ffff:192.0.2.7", "192.0.2.7", "169.254.3.4", "100.64.0.9", "2001:db8::5", "fd00::5",
		} {
			all = append(all, HostAddr{netip.MustParseAddr(a), "eth0"})
		}
		return append(all, HostAddr{}), nil
	}
	got, err := HostAddrs(list)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, h := range got {
		addrs = append(addrs, h.Addr.String())
	}
	want := []string{"192.0.2.7", "169.254.3.4", "100.64.0.9", "2001:db8::5", "fd00::5"}
	if !slices.Equal(addrs, want) {
		t.Errorf("got %v, want %v", addrs, want)
	}
}

func TestHostAddrsFails(t *testing.T) {
	cause := errors.New("not allowed")
	if _, err := HostAddrs(func() ([]HostAddr, error) { return nil, cause }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestSystemAddrs(t *testing.T) {
	if _, err := SystemAddrs(); err != nil {
		t.Error(err)
	}
	// Whether there is a default route depends on the host; the cause must be told if there is none.
	cause := errors.New("not allowed")
	list, err := routeAddrs(cause)
	if err != nil && !errors.Is(err, cause) || err == nil && len(list) == 0 {
		t.Errorf("got %v, %v", list, err)
	}
}
