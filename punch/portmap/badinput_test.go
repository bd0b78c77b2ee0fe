package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
	"github.com/bradawl/bradawl/internal/simnet"
)

// changed is a hook that changes each answer.
func changed(change func(b []byte)) func([]byte) [][]byte {
	return func(b []byte) [][]byte {
		b = append([]byte(nil), b...)
		change(b)
		return [][]byte{b}
	}
}

// What does not answer our request is no answer.
func TestForgedAnswersAreNone(t *testing.T) {
	isMap := func(b []byte) bool { return len(b) == 60 }
	for name, change := range map[string]func(b []byte){
		"another nonce":         func(b []byte) { b[24] ^= 1 },
		"another internal port": func(b []byte) { b[41] ^= 1 },
		"another protocol":      func(b []byte) { b[36] = 6 },
		"a request":             func(b []byte) { b[1] &= 0x7f },
		"another opcode":        func(b []byte) { b[1] = 0x82 },
		"another version":       func(b []byte) { b[0] = 3 },
	} {
		w := newWorld(t, simnet.GatewayConfig{PCP: true, Datagrams: changed(func(b []byte) {
			if isMap(b) {
				change(b)
			}
		})}, Config{})
		e := w.await(w.request(UDP, any4(5000), 0), Refused, 30*time.Second)
		if !strings.Contains(e.Err.Error(), "PCP of 192.168.0.1: no answer") {
			t.Errorf("%s: %v", name, e.Err)
		}
	}
	w := newWorld(t, simnet.GatewayConfig{NATPMP: true, Datagrams: changed(func(b []byte) {
		if len(b) == 16 {
			b[9] ^= 1 // the internal port
		}
	})}, Config{})
	w.await(w.request(UDP, any4(5000), 0), Refused, 30*time.Second)
}

// Somebody else on the LAN answers in the router's place, from its own address, to the
// port that we ask from; and the router's own host does, from other ports.
func TestAnswersOfOthersAreNone(t *testing.T) {
	lies := [][]byte{
		{0, 128, 0, 0, 0, 0, 0, 9, 6, 6, 6, 6},
		{0, 128, 0, 1, 0, 0, 0, 9},
		appendPCP(nil, answerBit, 0, netip.IPv6Unspecified()),
		[]byte("HTTP/1.1 200 OK\r\nST: " + igdDevice + "1\r\nLOCATION: http://192.168.0.1:5000/root.xml\r\n\r\n"),
	}
	for _, c := range []struct {
		name    string
		router  bool
		port    uint16
		lies    [][]byte
		speaker int // who believes it; negative: nobody
	}{
		{"somebody else", false, 5351, lies, -1},
		{"somebody else, by SSDP", false, 1900, lies, -1},
		{"another port of the router", true, 5352, lies[:3], -1},
		{"the router itself", true, 5351, lies[:1], 1}, // else the test tests nothing
	} {
		w := newWorld(t, simnet.GatewayConfig{}, Config{})
		m := &ear{}
		host := w.w.AddHost("liar", w.site.LAN(), simnet.Link{})
		if c.router {
			host.Iface().SetAddrs(w.gw.Addr())
		}
		run, err := simnet.Run(host, machine.Machine[struct{}](m), simnet.RunOptions{Sockets: []netip.AddrPort{netip.AddrPortFrom(host.Addr(), c.port)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.w.Run(time.Millisecond)
		id := w.request(UDP, any4(5000), 0)
		w.w.Run(time.Millisecond)
		run.Do(func(time.Time) {
			for _, lie := range c.lies {
				m.out.Push(machine.Transmit{Op: machine.Send, Remote: netip.AddrPortFrom(w.site.Addr(), w.run.LocalAddr(0).Port()), Data: lie})
			}
		})
		w.await(id, Refused, 20*time.Second)
		for i, word := range w.m.Words() {
			if got := word.External.IsValid() || word.Speaks; got != (i == c.speaker) {
				t.Errorf("%s: %v", c.name, word)
			}
		}
	}
}

// A thousand answers count as one.
func TestFloodOfAnswers(t *testing.T) {
	for _, k := range kinds[:4] {
		cfg := k.cfg
		cfg.Datagrams = func(b []byte) (all [][]byte) {
			for i := range 1000 {
				all = append(all, b, b[:i%len(b)], []byte{2, 0x81, byte(i)})
			}
			return all
		}
		w := newWorld(t, cfg, Config{Watch: -1})
		w.mapped()
		w.w.Run(20 * time.Minute)
		if n := w.gw.Count("pcp") + w.gw.Count("nat-pmp") + w.gw.Count("ssdp") + w.gw.Count("http"); n > 8 || len(w.events) > 0 {
			t.Errorf("%s: asked %d times, told %v", k.name, n, w.events)
		}
	}
}

func TestLifetimesThatMakeNoSense(t *testing.T) {
	for _, k := range kinds[:2] {
		cfg := k.cfg
		cfg.Raw = 1<<32 - 1
		w := newWorld(t, cfg, Config{})
		if _, info := w.mapped(); info.Lifetime != 24*time.Hour {
			t.Errorf("%s: for ever is taken for %v", k.name, info.Lifetime)
		}
		for what, change := range map[string]func(*simnet.GatewayConfig){
			"no time": func(g *simnet.GatewayConfig) { g.Zero = true }, "too short": func(g *simnet.GatewayConfig) { g.Raw = 9 },
		} {
			cfg := k.cfg
			change(&cfg)
			w := newWorld(t, cfg, Config{})
			if e := w.await(w.request(UDP, any4(5000), 0), Refused, 20*time.Second); !strings.Contains(e.Err.Error(), what) {
				t.Errorf("%s: %v", k.name, e.Err)
			}
		}
	}
}

// A router that says at each answer that it has just restarted makes us ask once in 5 s.
func TestRenewalStormIsBounded(t *testing.T) {
	for _, k := range kinds[:2] {
		cfg := k.cfg
		n := uint32(1 << 30)
		at := map[Method]int{PCP: 8, NATPMP: 4}[k.method]
		cfg.Datagrams = changed(func(b []byte) {
			if len(b) > at+4 {
				n /= 2
				binary.BigEndian.PutUint32(b[at:], n)
			}
		})
		w := newWorld(t, cfg, Config{Watch: 5 * time.Second})
		w.mapped()
		before := w.gw.Count("pcp") + w.gw.Count("nat-pmp")
		w.w.Run(100 * time.Second)
		if n := w.gw.Count("pcp") + w.gw.Count("nat-pmp") - before; n > 42 { // 20 looks and 20 renewals, and two of grace
			t.Errorf("%s: asked %d times in 100 s", k.name, n)
		}
	}
}

func TestUnusableOutsideAddress(t *testing.T) {
	for _, k := range kinds[:4] {
		for _, a := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"} {
			cfg := k.cfg
			cfg.Outside = netip.MustParseAddr(a)
			w := newWorld(t, cfg, Config{})
			e := w.await(w.request(UDP, any4(5000), 0), Refused, 20*time.Second)
			if !strings.Contains(e.Err.Error(), a) {
				t.Errorf("%s: %s: %v", k.name, a, e.Err)
			}
			if n := w.gw.Count("http"); n > 8 {
				t.Errorf("asked %d times", n)
			}
		}
	}
}

// What the address cannot be bound of, or what is no router, is told or passed over.
func TestGatewaysThatCannotBe(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true}, Config{})
	w.run.Do(func(now time.Time) {
		w.m.SetGateways(now, []Gateway{
			{}, {Addr: w.gw.Addr()}, {Addr: w.gw.Addr(), Local: w.gw.Addr()}, {Addr: netip.MustParseAddr("127.0.0.1"), Local: w.site.Addr()},
			{Addr: netip.MustParseAddr("fe80::1"), Local: w.site.Addr()}, {Addr: netip.MustParseAddr("239.0.0.1"), Local: w.site.Addr()},
		})
	})
	if n := len(w.m.Words()); n != 0 {
		t.Errorf("%d words of what is no router", n)
	}
	w.run.Do(func(now time.Time) {
		w.m.SetGateways(now, []Gateway{{Addr: w.gw.Addr(), Local: netip.MustParseAddr("192.168.77.7")}})
	})
	e := w.await(w.request(UDP, any4(5000), 0), Refused, time.Second)
	if !strings.Contains(e.Err.Error(), "no address of") {
		t.Errorf("%v", e.Err)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{PCP: true}, Config{})
	for _, r := range []Request{
		{UDP, any4(0), 0}, {0, any4(5000), 0}, {99, any4(5000), 0}, {UDP, netip.AddrPort{}, 0},
		{UDP, netip.MustParseAddrPort("127.0.0.1:5000"), 0}, {UDP, netip.MustParseAddrPort("[::]:5000"), 0}, {UDP, netip.MustParseAddrPort("224.0.0.1:5000"), 0},
	} {
		w.run.Do(func(now time.Time) {
			if _, err := w.m.Map(now, r); err == nil {
				t.Errorf("%+v is taken", r)
			}
		})
	}
	w.run.Do(func(now time.Time) {
		for port := range uint16(MaxMappings) {
			if _, err := w.m.Map(now, Request{UDP, any4(1000 + port), 0}); err != nil {
				t.Fatal(err)
			}
		}
		for _, port := range []uint16{1000, 4000} { // mapped already, and too many
			if _, err := w.m.Map(now, Request{UDP, any4(port), 0}); err == nil {
				t.Errorf("port %d is taken", port)
			}
		}
	})
	w.w.Run(time.Second)
	if n := w.site.NAT.Statics(); n != MaxMappings {
		t.Errorf("%d mappings", n)
	}
}

// A UPnP server that is broken or malicious costs some seconds and no more.
func TestBadUPnP(t *testing.T) {
	page := func(body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	services := func(control string) string {
		return "<root><device><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>" + control + "</controlURL></service></device></root>"
	}
	for _, c := range []struct {
		name, want string
		answer     []byte
	}{
		{"nothing", "no answer over HTTP", []byte("…")},
		{"half a head", "makes no sense", []byte("HTTP/1.1 200 OK\r\nContent-")},
		{"endless head", "makes no sense", []byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 9000) + "…")},
		{"endless body", "longer than 262144 bytes", []byte("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("<a/>", 70000) + "…")},
		{"endless chunks", "longer than 262144 bytes", []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 66) + "…")},
		{"great length", "longer than 262144 bytes", []byte("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n…")},
		{"negative length", "makes no sense", []byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
		{"short of its length", "makes no sense", []byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nxx")},
		{"redirect", "not followed", []byte("HTTP/1.1 302 Found\r\nLocation: http://203.0.113.9/\r\nContent-Length: 0\r\n\r\n")},
		{"error page", "HTTP status (404)", []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")},
		{"no HTTP", "makes no sense", []byte("SSH-2.0-x\r\n\r\n")},
		{"no XML", "cannot be read", page("hello")},
		{"deep", "deep", page(strings.Repeat("<a>", 60000))},
		{"many", "4096 elements", page("<a>" + strings.Repeat("<b/>", 20000) + "</a>")},
		{"laughs", "document type", page(`<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>`)},
		{"entity", "cannot be read", page("<root>&b;</root>")},
		{"no service", "no service", page("<root></root>")},
		{"control elsewhere", "not the gateway's own", page(services("http://203.0.113.9/ctl"))},
		{"control by name", "no http URL", page(services("http://router.lan/ctl"))},
		{"control that splits", "no http URL", page(services("/ctl\r\nX: y"))},
		{"control over TLS", "no http URL", page(services("https://192.168.0.1/ctl"))},
		{"control elsewhere, relative", "no http URL", page(services("//203.0.113.9/ctl"))},
	} {
		w := newWorld(t, simnet.GatewayConfig{UPnP: true, HTTP: func([]byte) []byte { return c.answer }}, Config{})
		began := w.w.Elapsed()
		e := w.await(w.request(UDP, any4(5000), 0), Refused, time.Minute)
		if !strings.Contains(e.Err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, e.Err)
		}
		if took := w.w.Elapsed() - began; took > 10*time.Second {
			t.Errorf("%s: took %v", c.name, took)
		}
	}
}

func TestBadSOAP(t *testing.T) {
	for body, want := range map[string]string{
		"":        "cannot be read",
		"<a></a>": "none to AddPortMapping",
		"<s:Envelope><s:Body><s:Fault><detail/></s:Fault></s:Body></s:Envelope>":                                              "no error code",
		"<Envelope><Body><Fault><errorCode>501</errorCode></Fault></Body></Envelope>":                                         "Action Failed (501)",
		"<Envelope><Body><Fault><errorCode>999</errorCode><errorDescription>huh</errorDescription></Fault></Body></Envelope>": `unknown error (999): "huh"`,
	} {
		w := newWorld(t, simnet.GatewayConfig{UPnP: true, HTTP: func(r []byte) []byte {
			if !strings.Contains(string(r), "#AddPortMapping") {
				return nil
			}
			return fmt.Appendf(nil, "HTTP/1.0 200 OK\r\n\r\n%s", body)
		}}, Config{})
		e := w.await(w.request(UDP, any4(5000), 0), Refused, 20*time.Second)
		if !strings.Contains(e.Err.Error(), want) {
			t.Errorf("%q: %v, want %s", body, e.Err, want)
		}
	}
}

// SSDP leads nowhere but to the gateway's own address.
func TestLocationElsewhere(t *testing.T) {
	for location, want := range map[string]string{
		"http://203.0.113.9:5000/root.xml":   "not the gateway's own",
		"http://127.0.0.1:5000/root.xml":     "not the gateway's own",
		"http://192.168.0.2:5000/root.xml":   "not the gateway's own",
		"http://router.lan/root.xml":         "no http URL",
		"https://192.168.0.1:5000/root.xml":  "no http URL",
		"http://192.168.0.1:0/root.xml":      "no http URL",
		"http://u@192.168.0.1:5000/root.xml": "no http URL",
		"file:///etc/passwd":                 "no http URL",
	} {
		w := newWorld(t, simnet.GatewayConfig{UPnP: true, Location: location}, Config{})
		e := w.await(w.request(UDP, any4(5000), 0), Refused, 20*time.Second)
		if !strings.Contains(e.Err.Error(), want) || w.gw.Count("http") > 0 {
			t.Errorf("%s: %v", location, e.Err)
		}
	}
}

// What routers are known to insist on is done their way.
func TestUPnPFallbacks(t *testing.T) {
	w := newWorld(t, simnet.GatewayConfig{UPnP: true, PermanentOnly: true}, Config{})
	id, info := w.mapped()
	if info.Lifetime != 0 {
		t.Errorf("lifetime %v where only permanent ones are given", info.Lifetime)
	}
	w.w.Run(48 * time.Hour)
	w.run.Do(func(now time.Time) { w.m.Unmap(now, id) })
	w.w.Run(time.Second)
	if n := w.site.NAT.Statics(); n != 0 {
		t.Errorf("%d mappings left", n)
	}

	for _, igd := range []int{1, 2} {
		w = newWorld(t, simnet.GatewayConfig{UPnP: true, IGD: igd}, Config{})
		neighbour := w.w.AddHost("neighbour", w.site.LAN(), simnet.Link{})
		_, first := w.mapped()
		m, err := NewMachine(Config{}, w.w.Rand("neighbour"), w.w.Secrets("neighbour"))
		if err != nil {
			t.Fatal(err)
		}
		var got Info
		run, err := simnet.Run(neighbour, machine.Machine[Event](m), simnet.RunOptions{}, func(_ time.Time, e Event) { got = e.Info })
		if err != nil {
			t.Fatal(err)
		}
		run.Do(func(now time.Time) {
			m.SetGateways(now, []Gateway{{w.gw.Addr(), neighbour.Addr()}})
			if _, err := m.Map(now, Request{UDP, any4(5000), 0}); err != nil {
				t.Fatal(err)
			}
		})
		w.w.Run(5 * time.Second)
		if !got.External.IsValid() || got.External == first.External {
			t.Errorf("IGD %d: got %v where %v is taken", igd, got.External, first.External)
		}
	}

	w = newWorld(t, simnet.GatewayConfig{UPnP: true, IGD: 2, SOAPErrors: map[string]int{"AddAnyPortMapping": 401}}, Config{})
	w.mapped()
	w = newWorld(t, simnet.GatewayConfig{UPnP: true, SOAPErrors: map[string]int{"AddPortMapping": 724}}, Config{})
	w.await(w.request(UDP, any4(5000), 6000), Refused, 20*time.Second)
	if n := w.gw.Count("AddPortMapping"); n != 2 {
		t.Errorf("asked %d times, want with the port suggested and with the internal one", n)
	}
}
