package netio

import (
	"errors"
	"net"
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

// Android 11 and later refuse to enumerate interfaces; what can be asked still is the
// address by which packets would leave.
func TestSystemAddrsRefused(t *testing.T) {
	no := errors.New("netlinkrib: permission denied")
	up := []net.Interface{{Name: "wlan0", Flags: net.FlagUp}, {Name: "rmnet0", Flags: net.FlagUp}, {Name: "off0"}}
	routed := HostAddr{Addr: netip.MustParseAddr("192.0.2.7")}
	one := HostAddr{netip.MustParseAddr("198.51.100.7"), "rmnet0"}
	for _, tt := range []struct {
		name       string
		interfaces error
		addrs      map[string]error // nil: one address
		want       HostAddr
	}{
		{"interfaces", no, nil, routed},
		{"all of their addresses", nil, map[string]error{"wlan0": no, "rmnet0": no}, routed},
		{"those of one", nil, map[string]error{"wlan0": no}, one},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := systemAddrs(
				func() ([]net.Interface, error) { return up, tt.interfaces },
				func(i *net.Interface) ([]net.Addr, error) {
					if i.Name != "rmnet0" || tt.addrs[i.Name] != nil {
						return nil, tt.addrs[i.Name]
					}
					return []net.Addr{&net.IPNet{IP: net.IPv4(198, 51, 100, 7), Mask: net.CIDRMask(24, 32)}}, nil
				},
				func(cause error) ([]HostAddr, error) {
					if cause != no {
						t.Errorf("asked the routes because of %v", cause)
					}
					return []HostAddr{routed}, nil
				},
			)
			if err != nil || len(got) != 1 || got[0].Addr.Unmap() != tt.want.Addr || got[0].Interface != tt.want.Interface {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}
