package simnet

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bradawl/bradawl/internal/machine"
)

func (g *Gateway) version() int { return max(g.cfg.IGD, 1) }

// search answers an SSDP search.
func (g *Gateway) search(d machine.Datagram) []byte {
	text := string(d.Data)
	device := fmt.Sprintf("urn:schemas-upnp-org:device:InternetGatewayDevice:%d", g.version())
	asked := ""
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "ST") {
			asked = strings.TrimSpace(value)
		}
	}
	switch {
	case !g.cfg.UPnP || !strings.HasPrefix(text, "M-SEARCH * HTTP/1.1\r\n"):
		return nil
	case asked > device || !strings.HasPrefix(asked, device[:len(device)-1]): // one answers for versions before its own, too
		return nil
	case g.cfg.MulticastOnly && !d.Local.Addr().IsMulticast():
		return nil
	}
	g.Asked["ssdp"]++
	location := g.cfg.Location
	if location == "" {
		location = "http://" + netip.AddrPortFrom(g.inner, UPnPPort).String() + "/root.xml"
	}
	return []byte("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: " + asked +
		"\r\nUSN: uuid:0::" + asked + "\r\nEXT:\r\nSERVER: simnet/1 UPnP/1.1\r\nLOCATION: " + location + "\r\n\r\n")
}

// HandleNotice serves HTTP, a request to a connection.
func (g *Gateway) HandleNotice(now time.Time, n machine.Notice) {
	if n.Kind == machine.Closed {
		delete(g.request, n.Stream)
	}
	if n.Kind != machine.Received {
		return
	}
	r := append(g.request[n.Stream], n.Data...)
	g.request[n.Stream] = r
	head, body, ok := bytes.Cut(r, []byte("\r\n\r\n"))
	if !ok || now.Before(g.nat.back) {
		return
	}
	for line := range strings.Lines(string(head)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Content-Length") {
			if size, err := strconv.Atoi(strings.TrimSpace(value)); err != nil || len(body) < size {
				return
			}
		}
	}
	delete(g.request, n.Stream)
	g.Asked["http"]++
	if g.cfg.HTTP != nil {
		if raw := g.cfg.HTTP(r); len(raw) > 0 {
			raw, open := bytes.CutSuffix(raw, []byte("…"))
			g.out.Push(machine.Transmit{Op: machine.Write, Stream: n.Stream, Data: raw})
			if !open {
				g.out.Push(machine.Transmit{Op: machine.Close, Stream: n.Stream})
			}
			return
		}
	}
	answer := httpAnswer(404, "", "")
	switch {
	case g.cfg.UPnP && bytes.HasPrefix(r, []byte("GET /root.xml ")):
		answer = httpAnswer(200, "OK", g.description())
	case g.cfg.UPnP && bytes.HasPrefix(r, []byte("POST /ctl")):
		answer = g.control(now, n.Remote.Addr(), string(head), string(body))
	}
	g.out.Push(machine.Transmit{Op: machine.Write, Stream: n.Stream, Data: answer})
	g.out.Push(machine.Transmit{Op: machine.Close, Stream: n.Stream})
}

func httpAnswer(status int, reason, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, reason, len(body), body)
}

func (g *Gateway) description() string {
	v := g.version()
	service := func(name string, version int) string {
		return fmt.Sprintf("<service><serviceType>urn:schemas-upnp-org:service:%s:%d</serviceType><serviceId>urn:upnp-org:serviceId:%s1</serviceId>"+
			"<SCPDURL>/scpd.xml</SCPDURL><controlURL>/ctl/%s</controlURL><eventSubURL>/evt</eventSubURL></service>", name, version, name, name)
	}
	services := service("WANIPConnection", v)
	if g.wall != nil && v > 1 {
		services += service("WANIPv6FirewallControl", 1)
	}
	device := func(name, services, inner string) string {
		return fmt.Sprintf("<device><deviceType>urn:schemas-upnp-org:device:%s:%d</deviceType><friendlyName>simnet</friendlyName>"+
			"<serviceList>%s</serviceList><deviceList>%s</deviceList></device>", name, v, services, inner)
	}
	return `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>1</minor></specVersion>` +
		device("InternetGatewayDevice", service("Layer3Forwarding", 1), device("WANDevice", "", device("WANConnectionDevice", services, ""))) + `</root>`
}

func upnpError(code int) []byte {
	return httpAnswer(500, "Internal Server Error", fmt.Sprintf(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>`+
		`<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">`+
		`<errorCode>%d</errorCode><errorDescription>error %d</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`, code, code))
}

// argument is the text of the element named, "" where there is none.
func argument(body, name string) string {
	_, rest, _ := strings.Cut(body, "<"+name+">")
	value, _, _ := strings.Cut(rest, "</"+name+">")
	return value
}

// control carries out a SOAP action.
func (g *Gateway) control(now time.Time, client netip.Addr, head, body string) []byte {
	_, action, _ := strings.Cut(head, "#")
	action, _, _ = strings.Cut(action, "\"")
	g.Asked[action]++
	port := func(name string) uint16 {
		n, _ := strconv.ParseUint(argument(body, name), 10, 16)
		return uint16(n)
	}
	proto := UDP
	if p := argument(body, "NewProtocol") + argument(body, "Protocol"); p == "TCP" || p == "6" {
		proto = TCP
	}
	asked, _ := strconv.ParseUint(argument(body, "NewLeaseDuration")+argument(body, "LeaseTime")+argument(body, "NewLeaseTime"), 10, 32)
	reply := func(args string) []byte {
		return httpAnswer(200, "OK", fmt.Sprintf(`<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`+
			`<u:%[1]sResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">%[2]s</u:%[1]sResponse></s:Body></s:Envelope>`, action, args))
	}
	if code := g.cfg.SOAPErrors[action]; code != 0 {
		return upnpError(code)
	}
	switch action {
	case "GetExternalIPAddress":
		return reply("<NewExternalIPAddress>" + g.outside(client).String() + "</NewExternalIPAddress>")
	case "AddPortMapping", "AddAnyPortMapping":
		inside, err := netip.ParseAddr(argument(body, "NewInternalClient"))
		any := action == "AddAnyPortMapping"
		life := g.life(uint32(asked))
		switch {
		case g.cfg.UPnPError != 0:
			return upnpError(g.cfg.UPnPError)
		case err != nil || any && g.version() < 2:
			return upnpError(401)
		case inside != client:
			return upnpError(606)
		case g.cfg.PermanentOnly && asked != 0:
			return upnpError(725)
		case asked == 0:
			life = 100 * 365 * 24 * time.Hour
		}
		external, ok := g.nat.table.grant(now, proto, netip.AddrPortFrom(inside, port("NewInternalPort")), port("NewExternalPort"), !any, life)
		if !ok {
			return upnpError(718)
		}
		if any {
			return reply(fmt.Sprintf("<NewReservedPort>%d</NewReservedPort>", external.Port()))
		}
		return reply("")
	case "GetSpecificPortMappingEntry", "DeletePortMapping":
		m := g.nat.table.statics.find(now, func(m *mapping) bool { return m.proto == proto && m.outside.Port() == port("NewExternalPort") })
		switch {
		case m == nil:
			return upnpError(714)
		case action == "DeletePortMapping":
			g.nat.table.revoke(now, proto, m.inside)
			return reply("")
		}
		return reply(fmt.Sprintf("<NewInternalPort>%d</NewInternalPort><NewInternalClient>%s</NewInternalClient><NewEnabled>1</NewEnabled>"+
			"<NewPortMappingDescription></NewPortMappingDescription><NewLeaseDuration>%d</NewLeaseDuration>", m.inside.Port(), m.inside.Addr(), m.until.Sub(now)/time.Second))
	}
	return g.pinholes(now, client, action, body, proto, uint32(asked), reply)
}

// pinholes carries out an action of WANIPv6FirewallControl.
func (g *Gateway) pinholes(now time.Time, client netip.Addr, action, body string, proto Proto, asked uint32, reply func(string) []byte) []byte {
	if g.wall == nil {
		return upnpError(401)
	}
	id := argument(body, "UniqueID")
	hole, known := g.pinhole[id]
	switch {
	case action == "GetFirewallStatus":
		return reply("<FirewallEnabled>1</FirewallEnabled><InboundPinholeAllowed>1</InboundPinholeAllowed>")
	case action == "AddPinhole":
		inside, err := netip.ParseAddr(argument(body, "InternalClient"))
		n, _ := strconv.ParseUint(argument(body, "InternalPort"), 10, 16)
		if err != nil || inside != client || g.cfg.UPnPError != 0 {
			return upnpError(max(g.cfg.UPnPError, 606))
		}
		hole = static{proto, netip.AddrPortFrom(inside, uint16(n))}
		g.last++
		id = strconv.Itoa(g.last)
		g.pinhole[id] = hole
	case !known:
		return upnpError(704)
	case action == "DeletePinhole":
		g.wall.table.revoke(now, hole.proto, hole.inside)
		delete(g.pinhole, id)
		return reply("")
	case action == "CheckPinholeWorking":
		return reply("<IsWorking>1</IsWorking>")
	case action != "UpdatePinhole":
		return upnpError(401)
	}
	g.wall.table.grant(now, hole.proto, hole.inside, 0, false, g.life(asked))
	return reply("<UniqueID>" + id + "</UniqueID>")
}
