package netio

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

func TestKindByName(t *testing.T) {
	for kind, names := range map[LinkKind][]string{
		LinkWired:    {"eth0", "enp3s0", "eno1", "ens18", "enx0011223344aa", "em0", "igb1", "re0", "vtnet0", "Ethernet", "Ethernet 2"},
		LinkWiFi:     {"wlan0", "wlp2s0", "wlx0011223344aa", "iwn0", "ath0", "Wi-Fi", "Wi-Fi 2", "WiFi"},
		LinkCellular: {"wwan0", "wwp0s20f0u2", "rmnet_data0", "ccmni1", "pdp_ip0", "Cellular", "Mobile Broadband"},
		LinkVPN:      {"tun0", "utun3", "wg0", "wg-home", "tailscale0", "ztabcdef12", "ipsec0", "gif0"},
		LinkVirtual:  {"docker0", "br-0123456789ab", "veth12ab34c", "virbr0", "vmnet8", "tap0", "bridge100", "awdl0", "llw0", "vEthernet (WSL)"},
		LinkUnknown:  {"en0", "en12", "ppp0", "rename3", "emission", "br0", "bond0", "Local Area Connection* 1", "", "0", "#"},
	} {
		for _, name := range names {
			if got := kindByName(name, net.FlagUp); got != kind {
				t.Errorf("%q: %d, want %d", name, got, kind)
			}
		}
	}
	for _, c := range []struct {
		name  string
		flags net.Flags
		want  LinkKind
	}{
		{"lo0", net.FlagLoopback, LinkVirtual},
		{"Loopback Pseudo-Interface 1", net.FlagLoopback, LinkVirtual},
		{"xyz0", net.FlagPointToPoint, LinkVPN},
		{"ppp0", net.FlagPointToPoint, LinkUnknown},
		{"pdp_ip0", net.FlagPointToPoint, LinkCellular},
	} {
		if got := kindByName(c.name, c.flags); got != c.want {
			t.Errorf("%q with %v: %d, want %d", c.name, c.flags, got, c.want)
		}
	}
}

func TestSystemLinks(t *testing.T) {
	links, err := SystemLinks()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l LinkInfo) bool {
		return slices.Contains(l.Prefixes, netip.MustParsePrefix("127.0.0.0/8"))
	})
	if i < 0 {
		t.Fatalf("no loopback interface in %+v", links)
	}
	if lo := links[i]; lo.Kind != LinkVirtual || !lo.Up || lo.Speed != 0 || lo.SignalKnown || lo.Gateway.IsValid() {
		t.Errorf("loopback: %+v", lo)
	}
	for _, l := range links {
		if _, err := net.InterfaceByName(l.Name); err != nil || len(l.Prefixes) == 0 {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
