package portmap

import (
	"fmt"
	"net/netip"
	"strings"
)

const (
	ssdpPort  = 1900
	igdDevice = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
)

// groups are where SSDP searches go beside the gateway, by family; for IPv6 the one of
// the link.
var (
	group4 = netip.MustParseAddr("239.255.255.250")
	group6 = netip.MustParseAddr("ff02::c")
)

// searchFor is an SSDP search for gateways of a version (UPnP Device Architecture 1.1,
// section 1.3.2).
func searchFor(to netip.AddrPort, version int) []byte {
	host := netip.AddrPortFrom(to.Addr().WithZone(""), to.Port())
	return fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: %v\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s%d\r\nUSER-AGENT: bradawl UPnP/1.1\r\n\r\n", host, igdDevice, version)
}

// parseSSDP reads the answer to a search and returns where the description is; false:
// it is no answer of a gateway.
func parseSSDP(b []byte) (location string, ok bool) {
	head, _, _ := cutHead(b)
	first, fields, _ := strings.Cut(string(head), "\n")
	if f := strings.Fields(first); len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/1.") || f[1] != "200" {
		return "", false
	}
	gateway := false
	for line := range strings.Lines(fields) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToUpper(strings.TrimSpace(name)) {
		case "ST":
			gateway = strings.HasPrefix(value, igdDevice)
		case "LOCATION":
			location = value
		}
	}
	return location, gateway && location != ""
}

// place is what an http URL names: a literal address and a path on it.
type place struct {
	addr netip.AddrPort
	path string
}

// locate reads an http URL whose host is a literal address.
func locate(url string) (p place, err error) {
	rest, ok := strings.CutPrefix(url, "http://")
	if !ok || !plain(url) {
		return p, errLocation
	}
	host, path, _ := strings.Cut(rest, "/")
	if p.addr, err = netip.ParseAddrPort(host); err != nil {
		ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			return p, errLocation
		}
		p.addr = netip.AddrPortFrom(ip, 80)
	}
	if p.addr.Port() == 0 {
		return p, errLocation
	}
	path, _, _ = strings.Cut(path, "#")
	p.addr = netip.AddrPortFrom(p.addr.Addr().Unmap(), p.addr.Port())
	p.path = "/" + path
	return p, nil
}

// plain reports whether s can stand in a request's first line: nothing that ends it, and
// not endless.
func plain(s string) bool {
	return len(s) <= 1024 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// on returns p at a gateway's address, which must be the one that p names: nothing is
// fetched from anybody else.
func (p place) on(gateway netip.Addr) (place, error) {
	if p.addr.Addr().WithZone("") != gateway.WithZone("") {
		return p, bad("names %v, which is not the gateway's own address; it is not asked", p.addr)
	}
	p.addr = netip.AddrPortFrom(gateway, p.addr.Port()) // with the zone
	return p, nil
}

// resolve finds the place that a reference in the description at p names.
func (p place) resolve(ref string) (place, error) {
	switch {
	case !plain(ref) || ref == "":
		return p, errLocation
	case strings.Contains(ref, "://"):
		to, err := locate(ref)
		if err != nil {
			return p, err
		}
		return to.on(p.addr.Addr())
	case strings.HasPrefix(ref, "//"):
		return p, errLocation
	case strings.HasPrefix(ref, "/"):
		p.path = ref
	default:
		p.path = p.path[:strings.LastIndexByte(p.path, '/')+1] + ref
	}
	return p, nil
}
