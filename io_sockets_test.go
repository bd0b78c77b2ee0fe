package bradawl

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/bradawl/bradawl/ice"
)

// Where the system names no interfaces, as on Android, the log says once what to do.
func TestSystemAddrsWarns(t *testing.T) {
	var text bytes.Buffer
	addr := netip.MustParseAddr("192.0.2.7")
	for _, tt := range []struct {
		name  string
		warns int
	}{{"wlan0", 0}, {"", 1}} {
		text.Reset()
		list := systemAddrs(Config{LoggerFactory: FromSlog(slog.New(slog.NewTextHandler(&text, nil))), Loopback: true},
			func(loopback bool) ([]ice.HostAddr, error) {
				if !loopback {
					t.Error("the configuration was not passed on")
				}
				return []ice.HostAddr{{Addr: addr, Interface: ice.InterfaceInfo{Name: tt.name}}}, nil
			})
		for range 3 {
			if hosts, err := list(); err != nil || len(hosts) != 1 || hosts[0].Addr != addr {
				t.Fatalf("got %v, %v", hosts, err)
			}
		}
		if got := strings.Count(text.String(), "Config.Addrs"); got != tt.warns {
			t.Errorf("interface %q: %d warnings, want %d: %s", tt.name, got, tt.warns, &text)
		}
	}
}
