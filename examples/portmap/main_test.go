package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradawl/bradawl/examples/internal/cli"
	"github.com/bradawl/bradawl/internal/netio"
	"github.com/bradawl/bradawl/internal/simnet"
	"github.com/bradawl/bradawl/punch/portmap"
)

// log is a buffer that the socket's reader may write to, too.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A router on loopback that speaks NAT-PMP, over real sockets.
func TestAgainstARouterOnLoopback(t *testing.T) {
	router, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	lives := make(chan uint32, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lives)
		buf := make([]byte, 100)
		for {
			n, from, err := router.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			answer := append([]byte{0, buf[1] | 0x80, 0, 0}, 0, 0, 0, 9)
			switch {
			case n == 2:
				answer = append(answer, 203, 0, 113, 7)
			case n == 12:
				answer = append(answer, buf[4:6]...)
				answer = append(answer, 0x1f, 0x90)
				answer = append(answer, buf[8:12]...)
				lives <- binary.BigEndian.Uint32(buf[8:])
			}
			if buf[0] == 0 {
				_, _ = router.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	local := netip.MustParseAddr("127.0.0.1")
	cfg := portmap.Config{
		Loopback: true, Port: netio.AddrPortOf(router.LocalAddr()).Port(),
		Gateways: func() ([]portmap.Gateway, error) { return []portmap.Gateway{{Addr: local, Local: local}}, nil },
	}
	var out log
	if err := run(t.Context(), []string{"-only", "nat-pmp"}, cfg, &out, io.Discard); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "mapped: UDP 203.0.113.7:8080 to 127.0.0.1:") {
		t.Error(out.String())
	}
	_ = router.Close()
	<-done
	last := uint32(1)
	for last = range lives {
		continue
	}
	if last != 0 {
		t.Errorf("the last request was for %d s, want 0: the mapping's end", last)
	}
}

// What it says behind routers of all kinds, in virtual time.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name   string
		preset string
		gw     simnet.GatewayConfig
		want   []string
		err    error
	}{
		{"mapped", "port-restricted-cone", simnet.GatewayConfig{UPnP: true}, []string{"mapped: TCP 203.0.113.1:8080 to 192.168.0.2:80 by UPnP of 192.168.0.1, for 2h0m0s\n"}, nil},
		{"refused", "port-restricted-cone", simnet.GatewayConfig{PCP: true, PCPResult: 2}, []string{"PCP of 192.168.0.1: NOT_AUTHORIZED (2)", "NAT-PMP of 192.168.0.1: UNSUPP_VERSION (1)", "no mapping of TCP port 80"}, errNone},
		{"two NATs", "cgnat", simnet.GatewayConfig{NATPMP: true}, []string{"which is not public"}, nil},
		{"silent", "port-restricted-cone", simnet.GatewayConfig{}, []string{"UPnP of 192.168.0.1: no answer", "known after 4s"}, errNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := simnet.New(1)
				site, err := w.AddSite("home", c.preset, simnet.Link{})
				if err != nil {
					t.Fatal(err)
				}
				gw, err := site.NATs[0].Gateway(c.gw, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Go()()
				var out log
				start := time.Now()
				err = run(t.Context(), []string{"-tcp", "-port", "80", "-external", "8080"}, portmap.Config{
					Gateways: func() ([]portmap.Gateway, error) {
						return []portmap.Gateway{{Addr: gw.Addr(), Local: site.Addr()}}, nil
					},
					ListenPacket: site.ListenPacket, Dial: site.DialFrom,
				}, &out, io.Discard)
				if !errors.Is(err, c.err) || time.Since(start) > 20*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				for _, want := range c.want {
					if !strings.Contains(out.String(), want) {
						t.Errorf("said\n%swant %q", out.String(), want)
					}
				}
			})
		})
	}
}

func TestNoGateway(t *testing.T) {
	var out log
	err := run(t.Context(), nil, portmap.Config{Gateways: func() ([]portmap.Gateway, error) { return nil, nil }}, &out, io.Discard)
	if !errors.Is(err, errNone) || !strings.Contains(out.String(), "no gateway is known") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestJSON(t *testing.T) {
	var out log
	err := run(t.Context(), []string{"-json"}, portmap.Config{Gateways: func() ([]portmap.Gateway, error) { return nil, nil }}, &out, io.Discard)
	var r record
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil || r.Event != "failed" || r.Protocol != "UDP" || !strings.Contains(r.Error, "gateway") {
		t.Errorf("%v: %s", err, out.String())
	}
	if code := cli.Exit("portmap", err, io.Discard); code != cli.Failed {
		t.Errorf("%v: exit code %d", err, code)
	}
	var text log
	tell := teller{w: &text, json: true, protocol: portmap.TCP}
	tell.mapped(portmap.Info{External: netip.MustParseAddrPort("203.0.113.1:80"), Lifetime: time.Hour, Public: true}, nil, time.Second)
	for _, want := range []string{`"event":"mapped"`, `"external":"203.0.113.1:80"`, `"lifetime_s":3600`, `"public":true`, `"ms":1000`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in %s", want, text.String())
		}
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"x": `"x" is not a flag`, "-port 65536": "-port 65536: want", "-external 65536": "-external 65536: want", "-tcp": "needs -port",
		"-only x": "-only x: want", "-hold x": "-hold: want a time", "-hold -1s": "-hold -1s: want", "-addr x": "-addr",
		"-addr 127.0.0.1 -port 5000": "-addr and -port: 127.0.0.1:5000 is no address of this host",
	} {
		var said strings.Builder
		err := run(t.Context(), strings.Fields(args), portmap.Config{}, &log{}, io.Discard)
		if code := cli.Exit("portmap", err, &said); code != cli.Wrong || !strings.Contains(said.String(), want) {
			t.Errorf("%s: exit code %d, %s, want %q", args, code, &said, want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, portmap.Config{}, &log{}, &help); cli.Exit("portmap", err, io.Discard) != cli.Done || !strings.Contains(help.String(), "examples:") || !strings.Contains(help.String(), "exit codes: 0") || !strings.Contains(help.String(), "-hold") {
		t.Errorf("-h: %v: %s", err, &help)
	}
}
